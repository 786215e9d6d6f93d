//! When a broken stream is opened again: as long as it can help, ever more slowly, and saying so once.

use std::time::Duration;

use crater_api::status::from_status;
use tonic::{Code, Status};

use crate::error::Error;

/// How often a stream may break in a row in a way that trying again seldom heals.
const MAX_ODD: u32 = 5;

/// The judgement of one stream's breaks.
#[derive(Debug, Default)]
pub struct Patience {
    attempt: u32,
    odd: u32,
    lost: bool,
    stale: Option<String>,
}

impl Patience {
    /// The token that the server refused, if the next one must be another.
    pub fn stale(&self) -> Option<&str> {
        self.stale.as_deref()
    }

    /// Something came: the connection is good.
    pub fn heard(&mut self) {
        if self.lost {
            eprintln!("crater: connected again");
        }
        *self = Self::default();
    }

    /// The stream ended though there is more to come: waits, for the caller to open it again.
    pub async fn ended(&mut self) {
        let pause = backoff(self.attempt);
        self.attempt += 1;
        tokio::time::sleep(pause).await;
    }

    /// The stream broke, opened with `token` if it was opened: waits, for the caller to open it again.
    ///
    /// # Errors
    /// The refusal, if trying again cannot help.
    pub async fn broke(&mut self, status: &Status, token: &str, renewable: bool) -> Result<(), Error> {
        tokio::time::sleep(self.judge(status, token, renewable)?).await;
        Ok(())
    }

    /// How long to wait before opening the stream again.
    fn judge(&mut self, status: &Status, token: &str, renewable: bool) -> Result<Duration, Error> {
        match status.code() {
            Code::Unauthenticated if renewable && self.stale.is_none() => {
                self.stale = Some(token.to_owned());
                return Ok(Duration::ZERO);
            }
            Code::Unavailable | Code::Cancelled | Code::Aborted => {}
            // what HTTP/2 makes of a connection that broke, or a server that stopped
            Code::Unknown | Code::Internal | Code::DeadlineExceeded if self.odd < MAX_ODD => self.odd += 1,
            _ => return Err(Error::refused(status)),
        }
        self.away(&why_away(status));
        let pause = pause(self.attempt, status);
        self.attempt += 1;
        Ok(pause)
    }

    /// The token could not be had, and the stream was not opened: waits if the server was away.
    ///
    /// # Errors
    /// Any other reason.
    pub async fn no_token(&mut self, error: Error) -> Result<(), Error> {
        if !error.is_unavailable() {
            return Err(error);
        }
        self.away(&error.to_string());
        self.ended().await;
        Ok(())
    }

    fn away(&mut self, why: &str) {
        // a drained server that is back at once is not worth a word
        if self.attempt > 0 && !self.lost {
            eprintln!("crater: lost the server ({why}); trying again");
            self.lost = true;
        }
    }
}

/// How long to wait after so many tries in vain.
pub fn backoff(attempt: u32) -> Duration {
    let ceiling = Duration::from_millis(100).saturating_mul(1 << attempt.min(6)).min(Duration::from_secs(5));
    // many clients that lost the same server must not come back in step
    ceiling.mul_f64(rand::random_range(0.5..=1.0))
}

/// Whether a call may be sent again because nobody answered it: the server is away, or the connection broke under the call. What a
/// server answers has no source; what HTTP/2 makes of a connection has.
pub fn is_away(status: &Status) -> bool {
    let broke = std::error::Error::source(status).is_some();
    match status.code() {
        Code::Unavailable => true,
        Code::Unknown | Code::Internal | Code::Cancelled => broke,
        _ => false,
    }
}

/// Why the server does not answer: what the system says of the connection, else what the server says.
pub fn why_away(status: &Status) -> String {
    let mut deepest: Option<&dyn std::error::Error> = std::error::Error::source(status);
    while let Some(source) = deepest.and_then(|e| e.source()) {
        deepest = Some(source);
    }
    deepest.map_or_else(|| status.message().to_owned(), ToString::to_string)
}

/// How long to wait before trying again: what the server says, else ever longer.
pub fn pause(attempt: u32, status: &Status) -> Duration {
    let told = from_status(status).retry_after.map(|d| d.min(Duration::from_secs(5)));
    told.unwrap_or_default().max(backoff(attempt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_away_is_waited_for_and_a_refusal_is_not() {
        let mut patience = Patience::default();
        for _ in 0..50 {
            assert!(
                patience.judge(&Status::unavailable("down"), "t", false).unwrap() <= Duration::from_secs(5)
            );
        }
        let refused = patience.judge(&Status::permission_denied("no"), "t", true);
        assert_eq!(refused.unwrap_err().exit_code(), crate::error::DENIED);
    }

    #[test]
    fn a_refused_token_is_renewed_once() {
        let mut patience = Patience::default();
        let refused = Status::unauthenticated("old");
        patience.judge(&refused, "t", true).unwrap();
        assert_eq!(patience.stale(), Some("t"));
        assert!(patience.judge(&refused, "u", true).is_err());
        patience.heard();
        assert!(patience.judge(&refused, "u", true).is_ok());
        assert!(Patience::default().judge(&refused, "t", false).is_err());
    }

    #[test]
    fn odd_breaks_end_some_time() {
        let mut patience = Patience::default();
        let mut breaks = 0;
        while patience.judge(&Status::unknown("h2"), "t", false).is_ok() {
            breaks += 1;
        }
        assert_eq!(breaks, MAX_ODD);
    }

    #[test]
    fn the_server_says_how_long_to_wait_within_reason() {
        let told = |s| {
            let error = crater_domain::Error::unavailable("x").retry_after(Duration::from_secs(s));
            pause(0, &crater_api::status::to_status(error))
        };
        assert_eq!(told(2), Duration::from_secs(2));
        assert_eq!(told(3600), Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_call_under_which_the_connection_broke_is_one_that_nobody_answered() {
        use tokio::io::AsyncReadExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // the call is on its way; then the server is killed
            let mut bytes = [0; 1024];
            let mut read = 0;
            while read < 150 {
                read += stream.read(&mut bytes).await.unwrap();
            }
        });
        let channel = tonic::transport::Endpoint::from_shared(url).unwrap().connect_lazy();
        let mut client = super::super::auth(channel);
        let status = client.login(crater_api::user::v1::LoginRequest::default()).await.unwrap_err();
        server.await.unwrap();
        assert!(is_away(&status), "{status:?}");
        for code in [Code::Unknown, Code::Internal, Code::Cancelled, Code::PermissionDenied] {
            assert!(!is_away(&Status::new(code, "a server says so")), "{code:?}");
        }
    }
}
