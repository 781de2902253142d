//! `traceparent` and `tracestate` of a request, and what becomes of them.
//!
//! Source: W3C Trace Context, §3.2 (`traceparent`), §3.3 (`tracestate`), §4 (who restarts a trace),
//! §7 (what a stranger's trace is worth: nothing).

use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Octets of a `traceparent` of version 00.
const LEN: usize = 55;

/// Where a trace comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: u128,
    pub(super) span: u64,
    pub(super) sampled: bool,
}

impl Parent {
    /// The parent that these fields name, if whoever sent them is `believed` and there is exactly
    /// one that can be read. Otherwise the trace begins here, and nothing of another one goes on.
    pub(super) fn take(headers: &mut HeaderMap, believed: bool) -> Option<Self> {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        let only = values.next().filter(|_| values.next().is_none());
        let parent = only.filter(|_| believed).and_then(|value| Self::parse(value.as_bytes()));
        if parent.is_none() {
            headers.remove(&TRACEPARENT);
            headers.remove(&TRACESTATE);
        }
        parent
    }

    /// `00-<trace, 32 digits>-<span, 16 digits>-<flags, 2 digits>`, in lower case; a later version
    /// may have more behind another dash.
    fn parse(value: &[u8]) -> Option<Self> {
        let own = std::str::from_utf8(value.get(..LEN)?).ok()?;
        let mut parts = own.split('-');
        let mut number = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let plain = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            plain.then(|| u128::from_str_radix(part, 16).ok()).flatten()
        };
        let version = number(2)?;
        let (trace, span, flags) = (number(32)?, number(16)?, number(2)?);
        let whole = match value.get(LEN) {
            None => true,
            Some(next) => version > 0 && *next == b'-',
        };
        let known = version != 0xff && trace != 0 && span != 0;
        let span = u64::try_from(span).ok()?;
        (whole && known).then_some(Self { trace, span, sampled: flags & 1 == 1 })
    }

    /// What the console is told: itself as the parent of what comes next.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let Self { trace, span, sampled } = self;
        let text = format!("00-{trace:032x}-{span:016x}-{:02x}", u8::from(sampled));
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(TRACEPARENT, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn fields(parents: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT, HeaderValue::from_bytes(parent.as_bytes()).unwrap());
        }
        headers.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));
        headers
    }

    #[test]
    fn n08_one_good_parent_of_somebody_who_is_believed_goes_on() {
        let mut headers = fields(&[GOOD]);
        let parent = Parent::take(&mut headers, true).unwrap();
        assert_eq!(parent.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((parent.span, parent.sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(headers[TRACESTATE], "vendor=1");
        parent.tell(&mut headers);
        assert_eq!(headers[TRACEPARENT], GOOD);
        assert_eq!(Parent::take(&mut headers, false), None, "a stranger");
        assert!(headers.is_empty(), "{headers:?}");
    }

    #[test]
    fn n08_what_cannot_be_read_begins_a_trace_anew() {
        let later = GOOD.replacen("00", "01", 1);
        let more = format!("{later}-what-comes");
        for good in [&later, &more, &GOOD.replace("-01", "-00"), &GOOD.replace("-01", "-ff")] {
            assert!(Parent::take(&mut fields(&[good]), true).is_some(), "{good}");
        }
        let (upper, zero) = (GOOD.to_uppercase(), "0".repeat(32));
        for bad in [
            "",
            "00",
            &upper,
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &zero),
            &GOOD.replace("00f067aa0ba902b7", "0000000000000000"),
            &GOOD.replace('-', "_"),
            &format!("{GOOD}-00"),
            &format!("{later}x"),
            &GOOD.replace("4b", "+b"),
            &GOOD.replace("4b", "\u{e9}"),
        ] {
            let mut headers = fields(&[bad]);
            assert_eq!(Parent::take(&mut headers, true), None, "{bad}");
            assert!(headers.is_empty(), "{bad}: {headers:?}");
        }
        assert_eq!(Parent::take(&mut fields(&[GOOD, GOOD]), true), None, "two of them");
    }
}
