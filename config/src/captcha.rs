//! `[captcha]`: how somebody shows that guessing costs them something.

use std::path::PathBuf;
use std::time::Duration;

use crate::problem::Fault;
use crate::reader::Reader;
use crate::secret::{Secret, read_secret};
use crate::service_url::{ServiceUrl, verify_service_url};
use crate::spec::{Kind, TableSpec, default, optional, seconds};
use crate::text::some_text;

const DIFFICULTY: Kind = Kind::Integer { least: 1, most: 1_000_000 };

pub(crate) static SPEC: TableSpec = TableSpec {
    doc: "What somebody has to do, besides knowing a password, once guessing is suspected.",
    keys: &[
        default(
            "mode",
            Kind::Choice(&["proof-of-work", "turnstile", "hcaptcha", "recaptcha", "off"]),
            "\"proof-of-work\"",
            "\"proof-of-work\": the browser computes for a moment, and nobody else is asked; \"turnstile\", \"hcaptcha\", \"recaptcha\": a provider, with site_key and a secret; \"off\": nothing is ever asked.",
        ),
        default(
            "always",
            Kind::List(&Kind::Choice(&["sign-in"])),
            "[]",
            "Forms that always ask for it; otherwise they ask when guessing is suspected.",
        ),
        default(
            "difficulty",
            DIFFICULTY,
            "2000",
            "Proof of work: PBKDF2 iterations of each try; a solution takes 256 tries on average.",
        ),
        default(
            "difficulty_max",
            DIFFICULTY,
            "64000",
            "Every failure of a client's address doubles the difficulty, up to this.",
        ),
        default(
            "forget_after",
            seconds(1, 86_400),
            "\"10m\"",
            "One failure of an address is forgotten each time this has passed.",
        ),
        default("lifetime", seconds(30, 3600), "\"5m\"", "How long a challenge can be answered."),
        default(
            "without_scripts",
            Kind::Flag,
            "true",
            "People whose browser runs no scripts may wait instead: one sign-in attempt of an address (IPv6: of one /64) each time `wait` has passed.",
        ),
        default(
            "haste",
            seconds(0, 60),
            "\"1s\"",
            "A failed sign-in by a form that was sent sooner than this after it was shown counts as two failures of the address: nobody types so fast.",
        ),
        default("wait", seconds(1, 600), "\"30s\"", "How long they wait; less than lifetime."),
        optional("site_key", Kind::Text(some_text), "The public key that the provider gave."),
        optional(
            "secret_file",
            Kind::Text(some_text),
            "File with the secret that the provider gave.",
        ),
        optional(
            "secret_env",
            Kind::Text(some_text),
            "The same from an environment variable of this name.",
        ),
        optional(
            "url",
            Kind::Text(verify_service_url),
            "Where the provider verifies answers (siteverify); its own address when left out.",
        ),
        optional(
            "ca_file",
            Kind::Text(some_text),
            "Certificates in PEM that the provider is verified with, instead of the system's.",
        ),
        default(
            "timeout",
            Kind::Duration { least: Duration::from_millis(100), most: Duration::from_secs(60) },
            "\"5s\"",
            "How long the provider may take.",
        ),
        default(
            "when_down",
            Kind::Choice(&["refuse", "allow", "proof-of-work"]),
            "\"refuse\"",
            "When the provider does not answer: \"refuse\" with 503, \"allow\" as if it were solved, or \"proof-of-work\" instead.",
        ),
    ],
};

/// How a captcha is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captcha {
    /// Of what kind it is.
    pub mode: CaptchaMode,
    /// Purposes for which it is always asked.
    pub always: Vec<String>,
    /// Iterations of each try of the proof of work.
    pub difficulty: u32,
    /// The most of them.
    pub difficulty_max: u32,
    /// One failure of an address is forgotten each time this has passed.
    pub forget_after: Duration,
    /// How long a challenge can be answered.
    pub lifetime: Duration,
    /// Who fails with a form sooner than this after it was shown is suspected to be a program.
    pub haste: Duration,
    /// How long somebody without scripts waits instead; `None`: they cannot.
    pub wait: Option<Duration>,
}

/// Of what kind a captcha is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptchaMode {
    /// Nothing is ever asked.
    Off,
    /// The browser computes.
    ProofOfWork,
    /// Somebody else decides.
    Provider(Box<CaptchaProvider>),
}

/// A provider that verifies answers by siteverify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptchaProvider {
    /// Which one.
    pub kind: ProviderKind,
    /// Its public key for this site.
    pub site_key: String,
    /// Its secret for this site.
    pub secret: Secret,
    /// Where it verifies.
    pub url: ServiceUrl,
    /// Whom it is verified with, if not with the system's certificates.
    pub ca_file: Option<PathBuf>,
    /// How long it may take.
    pub timeout: Duration,
    /// What holds when it does not answer.
    pub when_down: WhenDown,
}

/// A provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// Cloudflare Turnstile.
    Turnstile,
    /// hCaptcha.
    Hcaptcha,
    /// Google reCAPTCHA, the version with a box to tick.
    Recaptcha,
}

impl ProviderKind {
    /// Where it verifies answers.
    fn siteverify(self) -> &'static str {
        match self {
            Self::Turnstile => "https://challenges.cloudflare.com/turnstile/v0/siteverify",
            Self::Hcaptcha => "https://api.hcaptcha.com/siteverify",
            Self::Recaptcha => "https://www.google.com/recaptcha/api/siteverify",
        }
    }
}

/// What holds when a provider does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenDown {
    /// Nobody gets further.
    Refuse,
    /// As if the captcha were solved.
    Allow,
    /// The built-in captcha takes its place.
    ProofOfWork,
}

impl Captcha {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        let number = |key| u32::try_from(reader.integer(key)).unwrap_or(u32::MAX);
        let lifetime = reader.duration("lifetime");
        let wait = reader.duration("wait");
        let captcha = Self {
            mode: read_mode(reader),
            always: reader.texts("always"),
            difficulty: number("difficulty"),
            difficulty_max: number("difficulty_max"),
            forget_after: reader.duration("forget_after"),
            lifetime,
            haste: reader.duration("haste"),
            wait: reader.flag("without_scripts").then_some(wait),
        };
        if captcha.difficulty > captcha.difficulty_max {
            let fault = Fault::new("is more than difficulty_max.", "Lower it.");
            reader.problem("difficulty", fault);
        }
        if captcha.wait.is_some_and(|wait| wait >= lifetime) {
            reader.problem("wait", Fault::new("is not less than lifetime.", "Lower it."));
        }
        captcha
    }

    /// The provider, if there is one.
    pub fn provider(&self) -> Option<&CaptchaProvider> {
        match &self.mode {
            CaptchaMode::Provider(provider) => Some(provider),
            CaptchaMode::Off | CaptchaMode::ProofOfWork => None,
        }
    }
}

fn read_mode(reader: &Reader<'_>) -> CaptchaMode {
    let kind = match reader.text("mode").as_str() {
        "turnstile" => ProviderKind::Turnstile,
        "hcaptcha" => ProviderKind::Hcaptcha,
        "recaptcha" => ProviderKind::Recaptcha,
        other => {
            for key in ["site_key", "secret_file", "secret_env", "url", "ca_file"] {
                if reader.has(key) {
                    let fault = Fault::new("is for a mode with a provider.", "Remove it.");
                    reader.problem(key, fault);
                }
            }
            return if other == "off" { CaptchaMode::Off } else { CaptchaMode::ProofOfWork };
        }
    };
    let secret = read_secret(reader, "secret_file", "secret_env", 8);
    let needed = [
        ("site_key", reader.has("site_key")),
        ("secret_file", reader.has("secret_file") || reader.has("secret_env")),
    ];
    for (key, _) in needed.iter().filter(|(_, given)| !given) {
        let fault = Fault::new("is missing.", "A provider needs site_key and a secret.");
        reader.problem(key, fault);
    }
    let url = reader.optional_text("url").unwrap_or_else(|| kind.siteverify().to_owned());
    // A URL or a secret that could not be read is noted, and the configuration never used.
    let Ok(url) = ServiceUrl::parse(&url) else { return CaptchaMode::ProofOfWork };
    CaptchaMode::Provider(Box::new(CaptchaProvider {
        kind,
        site_key: reader.text("site_key"),
        secret: secret.unwrap_or_else(|| Secret::new(String::new())),
        url,
        ca_file: reader.readable_file("ca_file"),
        timeout: reader.duration("timeout"),
        when_down: match reader.text("when_down").as_str() {
            "allow" => WhenDown::Allow,
            "proof-of-work" => WhenDown::ProofOfWork,
            _ => WhenDown::Refuse,
        },
    }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::GatewayConfig;

    fn parse(keys: &str) -> Result<Captcha, String> {
        let text = format!(
            "public_url = \"https://console.example.com\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [upstream.console]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"x.db\"\n\
             [captcha]\n{keys}"
        );
        let config = GatewayConfig::parse(&text, Path::new("/"));
        config.map(|config| config.captcha).map_err(|problems| {
            let told = problems.iter().map(|problem| format!("{} {}", problem.key, problem.reason));
            told.collect::<Vec<_>>().join("\n")
        })
    }

    #[test]
    fn p02_a_captcha_that_could_not_be_asked_is_refused() {
        for (keys, expected) in [
            (
                "difficulty = 9\ndifficulty_max = 8",
                "captcha.difficulty is more than difficulty_max.",
            ),
            ("lifetime = \"30s\"", "captcha.wait is not less than lifetime."),
            ("site_key = \"x\"", "captcha.site_key is for a mode with a provider."),
            ("mode = \"turnstile\"", "captcha.site_key is missing."),
            ("mode = \"turnstile\"\nsite_key = \"x\"", "captcha.secret_file is missing."),
            ("mode = \"hcaptcha\"\nurl = \"http://a.example/\"", "is not the URL of a service."),
            (
                "mode = \"recaptcha\"\nsecret_file = \"/nowhere\"",
                "captcha.secret_file cannot be read",
            ),
            ("always = [\"everything\"]", "captcha.always"),
            ("mode = \"image\"", "captcha.mode"),
        ] {
            let told = parse(keys).unwrap_err();
            assert!(told.contains(expected), "{keys}: {told}");
        }
    }

    #[test]
    fn p01_a_provider_has_its_own_address_and_a_secret_that_is_not_printed() {
        let file = std::env::temp_dir().join(format!("doorward-provider-{}", std::process::id()));
        std::fs::write(&file, "secret-of-provider\n").unwrap();
        let keys = format!("mode = \"turnstile\"\nsite_key = \"x\"\nsecret_file = {file:?}");
        let captcha = parse(&keys).unwrap();
        std::fs::remove_file(file).unwrap();
        let provider = captcha.provider().unwrap();
        assert_eq!(provider.secret.expose(), "secret-of-provider");
        assert_eq!(
            provider.url.to_string(),
            "https://challenges.cloudflare.com/turnstile/v0/siteverify"
        );
        assert_eq!(provider.when_down, WhenDown::Refuse);
        assert!(!format!("{captcha:?}").contains("secret-of-provider"));
        assert_eq!(parse("without_scripts = false").unwrap().wait, None);
    }
}
