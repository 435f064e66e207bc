//! Text from outside, made safe for terminals and logs.

/// Escapes what a terminal or a log could take for more than text, and caps the length.
///
/// A CA's problem detail, a hook's output and a name server's answer may hold escape sequences, line
/// breaks that forge log lines, or bidirectional overrides. The cap, 2,048 characters, leaves room
/// for the longest link that Let's Encrypt sends (an unpause link with its token).
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(CAP));
    for (count, c) in text.trim().chars().enumerate() {
        if count == CAP {
            out.push('…');
            break;
        }
        if c == '\n' || c == '\t' {
            out.push(' ');
        } else if is_dangerous(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a challenge's token is base64url (RFC 8555 §8.3) and of a bearable length.
///
/// Asked before it becomes a file name: `../` in a token has been the end of other clients.
#[must_use]
pub fn is_token(token: &str) -> bool {
    (1..=128).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_dangerous(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

const CAP: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_terminal_survives() {
        assert_eq!(escape("a\u{1b}[31mb\r\nc\u{202e}d"), "a\\u{1b}[31mb\\u{d} c\\u{202e}d");
        assert_eq!(escape("ünïcode stays, so does — this"), "ünïcode stays, so does — this");
        assert_eq!(escape(&"x".repeat(5000)).chars().count(), CAP + 1);
    }
}
