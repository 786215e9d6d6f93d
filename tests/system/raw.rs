//! Calls with bytes of our own making for a body.

use prost::bytes::{Buf, BufMut};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Response, Status};

use crate::harness::Api;

/// A message with an unknown field that has groups in each other, so many levels deep.
pub fn nested(levels: usize) -> Vec<u8> {
    const FIELD: usize = 15;
    let (start, end) = ([u8::try_from(FIELD << 3 | 3).unwrap()], [u8::try_from(FIELD << 3 | 4).unwrap()]);
    [start.repeat(levels), end.repeat(levels)].concat()
}

/// Sends the bytes to a method; returns the bytes of its answer.
pub fn call(api: &Api, path: &'static str, body: Vec<u8>) -> Result<Vec<u8>, Status> {
    api.block_on(async {
        let mut client = tonic::client::Grpc::new(api.channel());
        client.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
        client
            .unary(api.request(body), PathAndQuery::from_static(path), Bytes)
            .await
            .map(Response::into_inner)
    })
}

#[derive(Clone, Copy)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}
