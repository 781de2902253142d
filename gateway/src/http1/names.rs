//! The names of fields, most of which the head before had in the same places.

use http::HeaderName;

/// So many names of one head are remembered.
const PLACES_MAX: usize = 32;

/// Longer names are not remembered: an idle connection must not keep what it once was sent.
const NAME_BYTES_MAX: usize = 40;

/// Turns the names of fields into those of `http`, which costs much less for one that stood in the
/// same place of the head before. Clients and consoles say nearly the same with every message.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<(Vec<u8>, HeaderName)>);

impl Names {
    /// The name that these octets are, in this place of a head. `None`: they are none.
    pub(crate) fn find(&mut self, place: usize, octets: &[u8]) -> Option<HeaderName> {
        // By the letter, which is compared at once: whoever wrote it spells it alike.
        if let Some((spelling, name)) = self.0.get(place)
            && spelling == octets
        {
            return Some(name.clone());
        }
        let name = HeaderName::from_bytes(octets).ok()?;
        if octets.len() <= NAME_BYTES_MAX {
            if let Some((spelling, known)) = self.0.get_mut(place) {
                spelling.clear();
                spelling.extend_from_slice(octets);
                known.clone_from(&name);
            } else if place == self.0.len() && place < PLACES_MAX {
                self.0.push((octets.to_vec(), name.clone()));
            }
        }
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stood_there_before_a_name_is_itself() {
        let mut names = Names::default();
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for (place, octets, expected) in [
            (0, "Host", Some("host")),
            (0, "hOST", Some("host")),
            (0, "x-a", Some("x-a")),
            (0, "x-aa", Some("x-aa")),
            (0, "x-", Some("x-")),
            (0, "", None),
            (0, "x-\r", None),
            (0, "x-", Some("x-")),
            (5, "host", Some("host")),
            (1, &long, Some(&long)),
            (1, "date", Some("date")),
        ] {
            let found = names.find(place, octets.as_bytes());
            assert_eq!(found.as_ref().map(HeaderName::as_str), expected, "{place}: {octets:?}");
        }
        let known: Vec<_> = names.0.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(known, ["x-", "date"]);
        for place in 0..1000 {
            names.find(place, b"x-many").unwrap();
        }
        assert_eq!(names.0.len(), PLACES_MAX);
    }
}
