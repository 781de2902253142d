//! gRPC through the gate, with a client and a server that are not ours: HTTP/2 on both sides,
//! messages that come and go at the same time, and the status in the trailers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use doorward_tests::{PUBLIC_HOST, TestGate};
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::tokio_stream::{Stream, StreamExt};
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};

/// Messages that are text, so that no schema is needed.
#[derive(Clone, Default)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(item.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let octets = buffer.copy_to_bytes(buffer.remaining());
        Ok(Some(String::from_utf8_lossy(&octets).into_owned()))
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;
type Answering<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

/// Greets, says whom it was told of, and fails when it is asked to.
struct Greet;

impl UnaryService<String> for Greet {
    type Response = String;
    type Future = Answering<String>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        Box::pin(async move {
            let user =
                request.metadata().get("remote-user").map(|user| user.to_str().unwrap().to_owned());
            match request.into_inner().as_str() {
                "fail" => Err(Status::resource_exhausted("all gone")),
                name => {
                    Ok(Response::new(format!("hello {name} from {}", user.unwrap_or_default())))
                }
            }
        })
    }
}

/// Sends back every message as soon as it comes, and a status in the end.
struct Echo;

impl StreamingService<String> for Echo {
    type Response = String;
    type ResponseStream = Answers;
    type Future = Answering<Answers>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        Box::pin(async move {
            let messages = request.into_inner().map(|message| {
                let message = message?;
                if message == "fail" { Err(Status::aborted("enough")) } else { Ok(message) }
            });
            Ok(Response::new(Box::pin(messages) as Answers))
        })
    }
}

#[derive(Clone)]
struct Console;

impl NamedService for Console {
    const NAME: &'static str = "console.Console";
}

impl tonic::codegen::Service<http::Request<Body>> for Console {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/console.Console/Greet" => Grpc::new(Text).unary(Greet, request).await,
                "/console.Console/Echo" => Grpc::new(Text).streaming(Echo, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// A gate that takes HTTP/2 without TLS in front of a gRPC server that does.
async fn gate() -> (TestGate, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let serving = Server::builder().add_service(Console).serve_with_incoming(incoming);
    let server = tokio::spawn(async move { serving.await.unwrap() });
    let gate = TestGate::with_config(&format!(
        "public_url = \"https://{PUBLIC_HOST}\"\nworkers = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\nh2c = true\n\
         [upstream.console]\naddress = \"http://{address}\"\nprotocol = \"http2\"\n\
         [store]\npath = \"doorward.db\"\n[operations]\naddress = \"127.0.0.1:0\"\n\
         [[route]]\npath = \"/console.Console/*\"\nstreaming = true\n"
    ))
    .await;
    (gate, server)
}

async fn connect(gate: SocketAddr) -> tonic::client::Grpc<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{gate}")).unwrap();
    let channel = endpoint.origin(format!("http://{PUBLIC_HOST}").parse().unwrap()).connect().await;
    let mut client = tonic::client::Grpc::new(channel.unwrap());
    client.ready().await.unwrap();
    client
}

fn signed<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let cookie = format!("__Host-doorward={token}");
    request.metadata_mut().insert("cookie", cookie.parse().unwrap());
    request.metadata_mut().insert("remote-user", "root".parse().unwrap());
    request
}

const GREET: PathAndQuery = PathAndQuery::from_static("/console.Console/Greet");
const ECHO: PathAndQuery = PathAndQuery::from_static("/console.Console/Echo");

#[tokio::test]
async fn unary_calls_pass_with_their_status_and_the_verified_identity() {
    let (gate, _server) = gate().await;
    let alice = gate.signed_in().await;
    let mut client = connect(gate.address()).await;
    let answer =
        client.unary(signed("world".to_owned(), alice.token()), GREET, Text).await.unwrap();
    assert_eq!(answer.into_inner(), "hello world from alice");
    client.ready().await.unwrap();
    let failure =
        client.unary(signed("fail".to_owned(), alice.token()), GREET, Text).await.unwrap_err();
    assert_eq!((failure.code(), failure.message()), (Code::ResourceExhausted, "all gone"));
    client.ready().await.unwrap();
    let stranger = client.unary(Request::new("world".to_owned()), GREET, Text).await.unwrap_err();
    assert_eq!(stranger.code(), Code::Unauthenticated, "{stranger:?}");
    client.ready().await.unwrap();
    let unknown = PathAndQuery::from_static("/console.Console/Other");
    let failure =
        client.unary(signed(String::new(), alice.token()), unknown, Text).await.unwrap_err();
    assert_eq!(failure.code(), Code::Unimplemented);
    // Large messages, many at once on one connection.
    let large = "x".repeat(1_000_000);
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let (mut client, request) = (client.clone(), signed(large.clone(), alice.token()));
            tokio::spawn(async move {
                client.ready().await.unwrap();
                client.unary(request, GREET, Text).await.unwrap().into_inner().len()
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), large.len() + "hello  from alice".len());
    }
}

#[tokio::test]
async fn streams_pass_message_by_message_in_both_directions_at_once() {
    let (gate, _server) = gate().await;
    let alice = gate.signed_in().await;
    let mut client = connect(gate.address()).await;
    let (sender, receiver) = mpsc::unbounded_channel::<String>();
    let messages = Received(std::sync::Mutex::new(receiver));
    sender.send("first".into()).unwrap();
    let request = signed(messages, alice.token());
    let mut answers = client.streaming(request, ECHO, Text).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().as_deref(), Some("first"));
    for number in 0..100 {
        sender.send(number.to_string()).unwrap();
        assert_eq!(answers.message().await.unwrap(), Some(number.to_string()));
    }
    sender.send("fail".into()).unwrap();
    let failure = answers.message().await.unwrap_err();
    assert_eq!((failure.code(), failure.message()), (Code::Aborted, "enough"));
}

#[tokio::test]
async fn d12_a_stream_is_reset_when_its_session_ends() {
    let (gate, _server) = gate().await;
    let mut alice = gate.signed_in().await;
    let mut client = connect(gate.address()).await;
    let (sender, receiver) = mpsc::unbounded_channel::<String>();
    sender.send("first".into()).unwrap();
    let request = signed(Received(std::sync::Mutex::new(receiver)), alice.token());
    let mut answers = client.streaming(request, ECHO, Text).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().as_deref(), Some("first"));
    let out = alice.post_json("/.doorward/api/v1/sign-out", &serde_json::json!({})).await;
    assert!(out.status.is_success());
    let ended = tokio::time::timeout(std::time::Duration::from_secs(3), answers.message()).await;
    assert!(ended.expect("the end in time").is_err());
    drop(sender);
}

/// What was sent into a channel.
struct Received(std::sync::Mutex<mpsc::UnboundedReceiver<String>>);

impl Stream for Received {
    type Item = String;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<String>> {
        self.0.lock().unwrap().poll_recv(cx)
    }
}
