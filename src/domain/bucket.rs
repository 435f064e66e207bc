//! The limits that certctl keeps to, as data.

use std::time::Duration;

use super::gcra::Limit;

/// How often one lineage may be issued, however often it comes due.
///
/// A script that rewrites the config or someone who overwrites a file must not spend a CA's weekly
/// budget for an exact set of names (Let's Encrypt: 5 a week).
pub const ISSUANCES: Limit = Limit { emission: Duration::from_secs(86_400), burst: 5 };
