//! In which language a page is: asked for by link, kept by cookie, or else the browser's.

use http::HeaderValue;

/// A language that the pages are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Simplified Chinese.
    Chinese,
    /// English.
    English,
}

impl Language {
    /// What holds while nothing is known.
    pub const UNSET: Self = Self::English;

    /// Its tag (RFC 5646).
    pub fn code(self) -> &'static str {
        match self {
            Self::Chinese => "zh-CN",
            Self::English => "en",
        }
    }

    /// Its tag as ALTCHA's widget writes it.
    pub fn widget(self) -> &'static str {
        match self {
            Self::Chinese => "zh-cn",
            Self::English => "en",
        }
    }

    /// The language of a tag, if the pages are written in it.
    pub fn of_tag(tag: &str) -> Option<Self> {
        let primary = tag.trim().split(['-', '_']).next().unwrap_or_default();
        match primary.to_ascii_lowercase().as_str() {
            "zh" => Some(Self::Chinese),
            "en" => Some(Self::English),
            _ => None,
        }
    }

    /// The one that was chosen before, or else the one that the browser likes best (RFC 9110
    /// §12.5.4), or else English.
    pub fn choose(kept: Option<&str>, accept_language: Option<&HeaderValue>) -> Self {
        if let Some(language) = kept.and_then(Self::of_tag) {
            return language;
        }
        let accepted = accept_language.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let weighted = accepted.split(',').take(32).filter_map(|item| {
            let (tag, parameters) = item.split_once(';').unwrap_or((item, ""));
            let weight = parameters
                .trim()
                .strip_prefix("q=")
                .map_or(Some(1.0), |weight| weight.parse::<f32>().ok())?;
            Some((Self::of_tag(tag)?, weight)).filter(|(_, weight)| *weight > 0.0)
        });
        // Of equal weights the first stands: it is what the browser lists first.
        let best = weighted.reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map_or(Self::English, |(language, _)| language)
    }
}

/// The language that a link asks for: `lang` in the query.
pub fn asked_for(query: Option<&str>) -> Option<Language> {
    query?.split('&').find_map(|pair| Language::of_tag(pair.strip_prefix("lang=")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kept: Option<&str>, accept: &str, expected: Language) {
        let accept = HeaderValue::try_from(accept).unwrap();
        assert_eq!(Language::choose(kept, Some(&accept)), expected, "{kept:?} {accept:?}");
    }

    #[test]
    fn the_language_is_kept_or_the_browsers() {
        check(None, "zh-CN,zh;q=0.9,en;q=0.8", Language::Chinese);
        check(None, "de, en;q=0.5, zh;q=0.7", Language::Chinese);
        check(None, "zh;q=0, en;q=0.1", Language::English);
        check(None, "fr", Language::English);
        check(None, "zh;q=x", Language::English);
        check(Some("en"), "zh", Language::English);
        check(Some("xx"), "zh", Language::Chinese);
        assert_eq!(asked_for(Some("a=b&lang=zh-CN")), Some(Language::Chinese));
        assert_eq!(asked_for(Some("lang=%0d")), None);
    }
}
