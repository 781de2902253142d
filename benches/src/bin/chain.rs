//! The way of a request without its sockets, to be counted in instructions.
//!
//! `chain REQUESTS [stepped]` opens the services on a fresh store, signs somebody in, and lets this many
//! requests pass: the router finds the route, the plugins judge the request and write what the
//! upstream is told, and edit the response. `benches/instructions` runs it below callgrind, which counts
//! what is in [`pass`] and nothing of the start: gathering randomness there takes now this many
//! instructions, now a hundred millions more. With `stepped` they are for a route that demands a second
//! factor, which was given.
//!
//! Not here: HTTP itself, and what the router does with fields, neither of which can be reached
//! without a connection.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a bench that cannot run should stop, and says why"
)]

use std::{
    hint::black_box,
    net::{IpAddr, SocketAddr},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use doorward::Router;
use doorward_config::{GatewayConfig, Secret};
use doorward_plugins::{
    Client, Clock, Pipeline, RequestContext, RequestId, Services,
    administration::{AccountChange, Request},
    password_check::Guesser,
    pipeline,
    session::{Evidence, Method},
    sign_in::{Credentials, Entered, Origin},
};
use tokio::runtime::{Builder, Runtime};

const HOST: &str = "console.example.com";
const PASSWORD: &str = "correct horse battery staple";

/// A few routes, and hashes that are cheap: what they cost is not asked here.
const CONFIG: &str = r#"
public_url = "https://console.example.com"
[[listener]]
address = "127.0.0.1:0"
[upstream.console]
address = "http://127.0.0.1:9"
[[route]]
path = "/assets/**"
access = "public"
[[route]]
path = "/admin/**"
groups = ["operators"]
[[route]]
path = "/api/**"
groups = ["staff"]
[[route]]
path = "/key/**"
groups = ["staff"]
step_up = { max_age = "24h" }
[store]
path = "chain.db"
"#;

fn main() -> ExitCode {
    let Some(requests) = std::env::args().nth(1).and_then(|count| count.parse::<u64>().ok()) else {
        eprintln!("usage: chain REQUESTS [stepped]");
        return ExitCode::from(2);
    };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let folder = std::env::temp_dir().join(format!("doorward-chain-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // Of the same length: that is no difference between them.
    let stepped = std::env::args().nth(2).is_some_and(|word| word == "stepped");
    let path = if stepped { "/key/orders" } else { "/api/orders" };
    let house = runtime.block_on(House::open(&folder));
    pass(&runtime, &house, requests, path);
    drop(house);
    std::fs::remove_dir_all(&folder).unwrap();
    ExitCode::SUCCESS
}

/// Where somebody is signed in.
struct House {
    services: Services,
    cookie: String,
    router: Router,
    chain: Pipeline,
}

impl House {
    async fn open(folder: &Path) -> Self {
        let config = Arc::new(GatewayConfig::parse(CONFIG, folder).unwrap());
        let services = Services::open(Arc::clone(&config), Clock::machine()).await.unwrap();
        let token = sign_in(&services).await;
        Self {
            cookie: format!("theme=dark; __Host-doorward={}; lang=en", token.expose()),
            router: Router::new(&config, "chain").unwrap(),
            chain: pipeline(&services),
            services,
        }
    }
}

/// Lets requests pass, each of which must get through. By this name callgrind knows what to count.
#[inline(never)]
fn pass(runtime: &Runtime, house: &House, requests: u64, path: &str) {
    runtime.block_on(carry(house, requests, path));
}

async fn carry(house: &House, requests: u64, path: &str) {
    let House { services, cookie, router, chain } = house;
    for number in 0..requests {
        let explained = router.explain(HOST, path, "GET").unwrap();
        let (route, upstream) = (explained.route, explained.upstream);
        let head = http::Request::get(format!("{path}?page=2"))
            .header("host", HOST)
            .header("accept", "application/json")
            .header("user-agent", "bench")
            .header("cookie", cookie);
        let (head, ()) = head.body(()).unwrap().into_parts();
        let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
        let address = IpAddr::from([192, 0, 2, 1]);
        let client = Client { address, peer, trusted_peer: false, secure: true };
        let now = services.clock.now();
        let mut cx = RequestContext::new(head, client, route, RequestId::new(1, number), now);
        (cx.host, cx.upstream) = (HOST.into(), upstream);
        assert!(chain.on_request(&mut cx).await.is_none(), "request {number} was refused");
        let told = cx.assertion.is_some();
        assert!(told, "nothing was told");
        let (mut answer, ()) = http::Response::new(()).into_parts();
        chain.on_response(&cx, &mut answer);
        black_box((cx, answer));
    }
}

async fn sign_in(services: &Services) -> Secret {
    let change = AccountChange { groups: Some(vec!["staff".into()]), ..AccountChange::default() };
    let add = Request::AccountAdd {
        name: "alice".into(),
        password: PASSWORD.into(),
        change: Box::new(change),
    };
    services.administration.execute(add).await.unwrap();
    let credentials = Credentials {
        account: "alice".into(),
        sub_user: String::new(),
        password: Secret::new(PASSWORD.into()),
    };
    let origin = Origin {
        scope: HOST,
        device: "bench",
        guesser: Guesser {
            address: IpAddr::from([192, 0, 2, 1]),
            device_cookie: None,
            captcha_solved: false,
            request_id: "1",
        },
        session: None,
    };
    match services.sign_in.attempt(&credentials, origin).await.unwrap() {
        Entered::SignedIn(signed_in) => {
            let given = [Evidence { method: Method::Totp, at: services.clock.now() }];
            services.approvals.refresh(&signed_in.session, &given).await.unwrap().0
        }
        Entered::Waits(_) => panic!("nobody here needs a second factor"),
    }
}
