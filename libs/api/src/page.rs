//! Page tokens: where a list goes on, bound to the query that began it.
//!
//! A token holds the key of the last row given out, so rows that are added meanwhile neither repeat nor hide others (keyset
//! paging), and a mark of the query, so that a token of another query is refused and not misread. It grants nothing: a forged one
//! is at most another place in a list that the caller may read anyway.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crater_domain::{Error, Result};
use sha2::{Digest, Sha256};

const MARK: usize = 8;
/// Longer than any token of ours.
const LONGEST: usize = 1024;

/// The token of the page after the row with key `last`. `query` is all that chooses and orders the rows: the method, the parent, the
/// filters, but not the page's size.
pub fn page_token(query: &[&str], last: &str) -> String {
    let mut bytes = mark(query).to_vec();
    bytes.extend_from_slice(last.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The key after which the page begins; none for the first page.
///
/// # Errors
/// The field `page_token`, if the token is none of ours or of another query.
pub fn parse_page_token(token: &str, query: &[&str]) -> Result<Option<String>> {
    if token.is_empty() {
        return Ok(None);
    }
    let broken = || Error::field("page_token", "is no token of ours: begin without one");
    if token.len() > LONGEST {
        return Err(broken());
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| broken())?;
    let (found, last) = bytes.split_at_checked(MARK).ok_or_else(broken)?;
    if found != mark(query) {
        return Err(Error::field(
            "page_token",
            "is of another query: repeat the query that it came from, or begin without one",
        ));
    }
    String::from_utf8(last.to_vec()).map(Some).map_err(|_| broken())
}

fn mark(query: &[&str]) -> [u8; MARK] {
    let mut hash = Sha256::new();
    for part in query {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let mut mark = [0; MARK];
    mark.copy_from_slice(&hash.finalize()[..MARK]);
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_on_where_its_own_query_stopped() {
        let query = ["ListJobs", "accounts/lab", ""];
        assert_eq!(parse_page_token("", &query).unwrap(), None);
        let token = page_token(&query, "2026/train-7");
        assert_eq!(parse_page_token(&token, &query).unwrap().as_deref(), Some("2026/train-7"));
    }

    #[test]
    fn a_token_of_another_query_is_refused_by_its_field() {
        let token = page_token(&["ListJobs", "accounts/lab", "a"], "k");
        let others: [&[&str]; 4] = [
            &["ListJobs", "accounts/den", "a"],
            &["ListQueue", "accounts/lab", "a"],
            &["ListJobs", "accounts/laba", ""],
            &[],
        ];
        for other in others {
            let error = parse_page_token(&token, other).unwrap_err();
            assert_eq!(error.violations[0].field, "page_token");
            assert!(error.message.contains("another query"), "{error}");
        }
        for nonsense in ["!", "AAAA", "a b", &"A".repeat(5000)] {
            assert_eq!(parse_page_token(nonsense, &[]).unwrap_err().violations[0].field, "page_token");
        }
    }
}
