//! What a server allows. tonic leaves most of these open.

use std::time::Duration;

/// The largest request message, in bytes.
pub const MAX_REQUEST: usize = 1 << 20;

/// The largest response message that our clients accept, in bytes.
pub const MAX_RESPONSE: usize = 4 << 20;

/// How long a call without a shorter `grpc-timeout` may take.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// The bounds of one server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest request message in bytes; a larger one is refused with RESOURCE_EXHAUSTED.
    pub request_bytes: usize,
    /// Deadline of a call whose response is not a stream.
    pub deadline: Duration,
    /// Calls answered at one time; further ones are shed with UNAVAILABLE.
    pub calls: usize,
    /// Response streams open at one time; further ones are shed with UNAVAILABLE.
    pub streams: usize,
    /// HTTP/2 streams on one TCP connection. An in-process connection, whose peer is this very process, has
    /// `calls + streams` of them.
    pub streams_per_connection: u32,
    /// Bytes of one request's headers.
    pub header_bytes: u32,
    /// Streams that a peer may reset before they were accepted (rapid reset).
    pub pending_resets: usize,
    /// Silence after which a connection is pinged.
    pub keepalive: Duration,
    /// Silence after the ping after which it is closed.
    pub keepalive_timeout: Duration,
    /// How long calls may finish once the server drains.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: MAX_REQUEST,
            deadline: CALL_DEADLINE,
            calls: 1024,
            streams: 4096,
            streams_per_connection: 128,
            header_bytes: 16 << 10,
            pending_resets: 20,
            keepalive: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            drain: Duration::from_secs(15),
        }
    }
}
