//! A property: whatever is asked, typed and waited for, codes do what a plain model of them says.

use proptest::prelude::*;

use super::tests::{Desk, desk, other};
use super::*;

#[derive(Clone, Debug)]
enum Act {
    /// Ask for a code: for which binding, to which number.
    Issue(usize, usize),
    /// Type the newest code of a binding, at a binding.
    Right(usize, usize),
    /// Type a wrong code at a binding.
    Wrong(usize),
    /// Seconds pass.
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0..2_usize, 0..2_usize).prop_map(|(binding, to)| Act::Issue(binding, to)),
        3 => (0..2_usize, 0..2_usize).prop_map(|(of, at)| Act::Right(of, at)),
        3 => (0..2_usize).prop_map(Act::Wrong),
        4 => prop_oneof![1..70_u64, 200..400_u64, 3000..4000_u64].prop_map(Act::Wait),
    ]
}

/// What a binding should be like.
#[derive(Clone, Default)]
struct Model {
    code: Option<String>,
    expires: u64,
    tries: u32,
}

/// Does the same in both worlds, and compares.
struct Run {
    desk: Desk,
    now: u64,
    bindings: [Model; 2],
    sent: [Vec<u64>; 2],
}

const BINDINGS: [(Purpose, &str); 2] = [(Purpose::SignIn, "c1"), (Purpose::Approve, "c1")];
const NUMBERS: [&str; 2] = ["+8613800000001", "+8613800000002"];

impl Run {
    async fn issue(&mut self, binding: usize, to: usize) {
        let (purpose, bound_to) = BINDINGS[binding];
        let model = &mut self.bindings[binding];
        let live = model.code.is_some() && self.now < model.expires;
        let within = |time: u64| self.sent[to].iter().filter(|at| self.now - **at < time).count();
        let room = within(60) < 1 && within(3600) < 5 && within(86_400) < 10;
        let expected = room && !(live && model.tries >= 5);
        let issued = self.desk.issue(purpose, bound_to, NUMBERS[to]).await;
        assert_eq!(issued.is_ok(), expected, "{issued:?}");
        if let Ok(code) = issued {
            self.sent[to].push(self.now);
            let tries = if live { model.tries } else { 0 };
            *model = Model { code: Some(code), expires: self.now + 300, tries };
        }
    }

    async fn type_in(&mut self, code: &str, at: usize) {
        let (purpose, bound_to) = BINDINGS[at];
        let model = &mut self.bindings[at];
        let mut expected = false;
        if model.code.is_some() && self.now < model.expires && model.tries < 5 {
            model.tries += 1;
            expected = model.code.as_deref() == Some(code);
        }
        assert_eq!(self.desk.verify(purpose, bound_to, code).await, expected);
        if expected {
            *model = Model::default();
        }
    }

    async fn act(&mut self, act: &Act) {
        match act {
            Act::Issue(binding, to) => self.issue(*binding, *to).await,
            Act::Right(of, at) => {
                let code = self.bindings[*of].code.clone().unwrap_or("123456".into());
                self.type_in(&code, *at).await;
            }
            Act::Wrong(at) => {
                let code = self.bindings[*at].code.as_deref().map_or("123456".into(), other);
                self.type_in(&code, *at).await;
            }
            Act::Wait(seconds) => {
                self.now += seconds;
                self.desk.clock.advance(Duration::from_secs(*seconds));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn g12_codes_do_what_the_model_says(acts in prop::collection::vec(act(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let name = format!("model-{:?}", std::thread::current().id());
            let desk = desk(&name, "address = \"100000/1s\"").await;
            let bindings = [Model::default(), Model::default()];
            let mut run = Run { desk, now: 0, bindings, sent: [Vec::new(), Vec::new()] };
            for act in &acts {
                run.act(act).await;
            }
        });
    }
}
