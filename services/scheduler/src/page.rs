//! Pages of a queue. A token names the query and the last job that was shown: the queue may change between two pages.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crater_domain::{Error, Result};

use crate::app::Waiting;

/// One page, and the token of the next; empty on the last.
pub fn page(parent: &str, queue: Vec<Waiting>, size: usize, token: &str) -> Result<(Vec<Waiting>, String)> {
    let start = if token.is_empty() { 0 } else { after(parent, &queue, token)? };
    let more = queue.len().saturating_sub(start) > size;
    let shown: Vec<Waiting> = queue.into_iter().skip(start).take(size).collect();
    let next = match shown.last() {
        Some(last) if more => URL_SAFE_NO_PAD.encode(format!("1\n{parent}\n{}\n{}", last.rank, last.name)),
        _ => String::new(),
    };
    Ok((shown, next))
}

/// Behind the last job shown, wherever it is now; if it waits no more, at the place where it was.
fn after(parent: &str, queue: &[Waiting], token: &str) -> Result<usize> {
    let wrong = || Error::field("page_token", "is not one that this query gave out");
    let text = URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(wrong)?;
    let mut parts = text.splitn(4, '\n');
    let (Some("1"), Some(of), Some(rank), Some(name)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    let rank: usize = rank.parse().map_err(|_| wrong())?;
    if of != parent {
        return Err(Error::field(
            "page_token",
            "is of another query: a token goes with the same parent only",
        ));
    }
    let last = queue.iter().position(|w| w.name == name);
    Ok(last.map_or_else(|| queue.iter().take_while(|w| w.rank < rank).count(), |at| at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crater_domain::Resources;

    fn queue(names: &[&str]) -> Vec<Waiting> {
        let each = |(rank, name): (usize, &&str)| Waiting {
            name: (*name).to_owned(),
            rank,
            position: 1,
            priority: 0,
            requested: Resources::ZERO,
            devices: Default::default(),
            queued_ms: 0,
            blocker: None,
        };
        names.iter().enumerate().map(each).collect()
    }

    fn names(page: &[Waiting]) -> Vec<&str> {
        page.iter().map(|w| w.name.as_str()).collect()
    }

    #[test]
    fn pages_go_on_where_the_last_one_ended_though_jobs_come_and_go() {
        let (first, token) = page("a", queue(&["x", "y", "z"]), 2, "").unwrap();
        assert_eq!(names(&first), ["x", "y"]);
        let (second, end) = page("a", queue(&["new", "x", "y", "z"]), 2, &token).unwrap();
        assert_eq!((names(&second), end.as_str()), (vec!["z"], ""));
        let (second, _) = page("a", queue(&["x", "z"]), 2, &token).unwrap();
        assert_eq!(names(&second), ["z"], "y has started meanwhile");
    }

    #[test]
    fn a_token_of_another_query_is_refused() {
        let (_, token) = page("a", queue(&["x", "y"]), 1, "").unwrap();
        for (parent, token) in [("b", token.as_str()), ("a", "nonsense"), ("a", "!")] {
            let error = page(parent, queue(&["x", "y"]), 1, token).map(|_| ()).unwrap_err();
            assert_eq!(error.violations[0].field, "page_token");
        }
    }
}
