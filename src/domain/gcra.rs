//! The generic cell rate algorithm: a token bucket whose only state is one instant.
//!
//! The same arithmetic as the CA's own (Boulder, `ratelimits/gcra.go`), so that a local mirror of a
//! limit agrees with the original to the second.

use std::time::Duration;

use super::time::Time;

/// A limit: `burst` tokens, one more every `emission`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How long one token takes to come back.
    pub emission: Duration,
    /// How many tokens a full bucket holds.
    pub burst: u32,
}

impl Limit {
    /// Spends one token of the bucket whose theoretical arrival time is `arrival`.
    ///
    /// An arrival further ahead than a bucket can owe is a clock that went back: how much was spent is not
    /// known then, and one token is granted. What is stored after that is the bucket's own again.
    ///
    /// # Errors
    ///
    /// The instant at which the next token is there.
    pub fn spend(self, arrival: Option<Time>, now: Time) -> Result<Time, Time> {
        let full = now.after(self.emission * self.burst);
        let arrival = arrival.unwrap_or(now).max(now);
        let arrival = if arrival > full { full.before(self.emission) } else { arrival };
        let next = arrival.after(self.emission);
        if next > full { Err(next.before(self.emission * self.burst)) } else { Ok(next) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const LIMIT: Limit = Limit { emission: DAY, burst: 5 };

    #[test]
    fn burst_then_one_an_emission() {
        let now = Time::from_unix(1_000_000);
        let mut arrival = None;
        for token in 0..5 {
            arrival = Some(LIMIT.spend(arrival, now).unwrap_or_else(|_| panic!("token {token}")));
        }
        assert_eq!(LIMIT.spend(arrival, now), Err(now.after(DAY)));
        let tomorrow = now.after(DAY);
        arrival = Some(LIMIT.spend(arrival, tomorrow).expect("one came back"));
        assert_eq!(LIMIT.spend(arrival, tomorrow), Err(tomorrow.after(DAY)));
    }

    #[test]
    fn a_clock_that_went_back_grants_one_token_and_then_one_an_emission() {
        let (now, later) = (Time::from_unix(1_000_000), Time::from_unix(900_000_000));
        let arrival = LIMIT.spend(Some(later), now).expect("one");
        assert_eq!(LIMIT.spend(Some(arrival), now), Err(now.after(DAY)));
        assert!(LIMIT.spend(Some(arrival), now.after(DAY)).is_ok());
    }
}
