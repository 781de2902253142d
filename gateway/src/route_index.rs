//! Which route: the first, in the order of the configuration, that a request matches.
//!
//! Answers as trying the routes one by one would, in a time that does not grow with their number:
//! a trie of path segments for each host, and one for routes that name no host. A segment with a
//! `*` is found by the lengths of its beginning and its end, so that many of them at one place are
//! few look-ups too. Looking allocates nothing.
//!
//! Not here: what a second reading of a path must meet (`router`).
//!
//! Bounds: made once, of the configuration. At a segment both a text and patterns with `*` can
//! match, and all are followed: at worst every place of the tries is seen once, and places whose
//! routes come after one that was found are not.

use std::collections::HashMap;
use std::sync::Arc;

use doorward_config::{HostPattern, PathPattern, Route, Segment};

/// Routes, found by what a request says.
pub(crate) struct RouteIndex {
    routes: Vec<Arc<Route>>,
    /// Those that name no host.
    any_host: Place,
    /// Those that name a host.
    exact_host: HashMap<Box<str>, Place>,
    /// Those that name every host below a domain, by its suffix.
    below_host: HashMap<Box<str>, Place>,
}

/// Where some segments of a path lead.
struct Place {
    /// The first route here or further on.
    first: usize,
    /// Routes whose paths end here.
    ends: Vec<usize>,
    /// Routes to which anything may follow here.
    deep: Vec<usize>,
    exact: HashMap<Box<str>, Self>,
    wild: Vec<Wild>,
}

/// Where segments with a `*` lead, that have as much before it and as much behind it.
struct Wild {
    start: usize,
    end: usize,
    places: HashMap<Box<str>, HashMap<Box<str>, Place>>,
}

/// A search: for what, and what was found so far.
struct Search<'s> {
    routes: &'s [Arc<Route>],
    method: &'s str,
    best: usize,
}

impl RouteIndex {
    /// Indexes these routes by their paths as they are.
    pub(crate) fn new(routes: &[Arc<Route>]) -> Self {
        Self::by(routes, |route| route.path.clone())
    }

    /// Indexes them by their paths in lower case.
    pub(crate) fn in_lower_case(routes: &[Arc<Route>]) -> Self {
        Self::by(routes, |route| route.path.to_lower_case())
    }

    fn by(routes: &[Arc<Route>], path: impl Fn(&Route) -> PathPattern) -> Self {
        let mut index = Self {
            routes: routes.to_vec(),
            any_host: Place::new(),
            exact_host: HashMap::new(),
            below_host: HashMap::new(),
        };
        for (order, route) in routes.iter().enumerate() {
            let path = path(route);
            if route.hosts.is_empty() {
                index.any_host.add(&path, order, routes);
            }
            for host in &route.hosts {
                let (places, name) = match host {
                    HostPattern::Exact(name) => (&mut index.exact_host, name),
                    HostPattern::Below(suffix) => (&mut index.below_host, suffix),
                };
                let place = places.entry(name.as_str().into()).or_insert_with(Place::new);
                place.add(&path, order, routes);
            }
        }
        index
    }

    /// The first route that matches `host`, the decoded `path` and `method`.
    pub(crate) fn find(&self, host: &str, path: &str, method: &str) -> Option<&Arc<Route>> {
        let mut search = Search { routes: &self.routes, method, best: usize::MAX };
        let segments = PathPattern::split(path);
        if !self.exact_host.is_empty()
            && let Some(place) = self.exact_host.get(host)
        {
            place.search(segments.clone(), &mut search);
        }
        if !self.below_host.is_empty() {
            for place in HostPattern::suffixes(host).filter_map(|name| self.below_host.get(name)) {
                place.search(segments.clone(), &mut search);
            }
        }
        self.any_host.search(segments, &mut search);
        self.routes.get(search.best)
    }
}

impl Place {
    fn new() -> Self {
        Self {
            first: usize::MAX,
            ends: Vec::new(),
            deep: Vec::new(),
            exact: HashMap::new(),
            wild: Vec::new(),
        }
    }

    /// Adds a route; they are added in their order.
    fn add(&mut self, path: &PathPattern, order: usize, routes: &[Arc<Route>]) {
        let mut place = self;
        place.first = place.first.min(order);
        for segment in path.segments() {
            place = place.next(segment);
            place.first = place.first.min(order);
        }
        let list = if path.is_deep() { &mut place.deep } else { &mut place.ends };
        if !leave_nothing(list, order, routes) {
            list.push(order);
        }
    }

    /// The place to which a segment of a pattern leads from here.
    fn next(&mut self, segment: &Segment) -> &mut Self {
        let (start, end) = match segment {
            Segment::Exact(text) => {
                return self.exact.entry(text.as_str().into()).or_insert_with(Self::new);
            }
            Segment::Wild(start, end) => (start.as_str(), end.as_str()),
        };
        let is_it = |wild: &Wild| (wild.start, wild.end) == (start.len(), end.len());
        let known = self.wild.iter().position(is_it).unwrap_or_else(|| {
            let places = HashMap::new();
            self.wild.push(Wild { start: start.len(), end: end.len(), places });
            self.wild.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "the index of one that is there")]
        let starts = self.wild[known].places.entry(start.into()).or_default();
        starts.entry(end.into()).or_insert_with(Self::new)
    }

    fn search<'p>(&self, mut rest: impl Iterator<Item = &'p str> + Clone, search: &mut Search<'_>) {
        if self.first >= search.best {
            return;
        }
        search.among(&self.deep);
        let Some(segment) = rest.next() else {
            search.among(&self.ends);
            return;
        };
        if !self.exact.is_empty()
            && let Some(place) = self.exact.get(segment)
        {
            place.search(rest.clone(), search);
        }
        for place in self.wild.iter().filter_map(|wild| wild.find(segment)) {
            place.search(rest.clone(), search);
        }
    }
}

impl Wild {
    fn find(&self, segment: &str) -> Option<&Place> {
        let end = segment.len().checked_sub(self.end).filter(|end| *end >= self.start)?;
        self.places.get(segment.get(..self.start)?)?.get(segment.get(end..)?)
    }
}

impl Search<'_> {
    /// Notes the first of these that lets the method in, if nothing earlier was found.
    fn among(&mut self, list: &[usize]) {
        let method = self.method;
        let earlier = list.iter().copied().take_while(|order| *order < self.best);
        let mut matching = earlier.filter(|order| {
            self.routes.get(*order).is_some_and(|route| route.matches_method(method))
        });
        if let Some(order) = matching.next() {
            self.best = order;
        }
    }
}

/// Do the routes of a list leave nothing to a later one at the same place? It then need not stand
/// there, and a list is no longer than there are methods.
fn leave_nothing(list: &[usize], later: usize, routes: &[Arc<Route>]) -> bool {
    let earlier = || list.iter().filter_map(|order| routes.get(*order));
    let taken = |method: &String| earlier().any(|route| route.matches_method(method));
    let Some(later) = routes.get(later) else { return false };
    earlier().any(|route| route.methods.is_empty())
        || (!later.methods.is_empty() && later.methods.iter().all(taken))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use doorward_config::GatewayConfig;
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::*;

    const HOSTS: [&str; 5] =
        ["a.example.com", "b.a.example.com", "*.example.com", "*.a.example.com", "x.test"];
    const ASKED: [&str; 6] =
        ["a.example.com", "b.a.example.com", "c.example.com", "example.com", "x.test", "y"];
    const METHODS: [&str; 3] = ["GET", "HEAD", "POST"];

    /// A configuration with these routes; `None`: they are refused.
    fn routes(tables: &str) -> Option<Vec<Arc<Route>>> {
        let text = format!(
            "public_url = \"https://console.example.com\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [upstream.console]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"x.db\"\n{tables}"
        );
        let config = GatewayConfig::parse(&text, Path::new("/nowhere")).ok()?;
        Some(config.routes.into_iter().map(Arc::new).collect())
    }

    /// What trying one by one finds.
    fn one_by_one<'r>(
        routes: &'r [Arc<Route>],
        lower: bool,
        (host, path, method): (&str, &str, &str),
    ) -> Option<&'r Arc<Route>> {
        routes.iter().find(|route| {
            let path_of_route = if lower { route.path.to_lower_case() } else { route.path.clone() };
            Route { path: path_of_route, ..Route::clone(route) }.matches(host, path, method)
        })
    }

    fn route() -> impl Strategy<Value = String> {
        let segment = select(vec!["a", "b", "A", "aB", "*", "a*", "*b", "aa*", "a*b", "ä*", "*.x"]);
        let path = (prop::collection::vec(segment, 0..4), any::<bool>());
        let hosts = subsequence(HOSTS.to_vec(), 0..3);
        (path, hosts, subsequence(METHODS.to_vec(), 0..3)).prop_map(
            |((path, deep), hosts, methods)| {
                let mut text = path.iter().map(|segment| format!("/{segment}")).collect::<String>();
                if deep || text.is_empty() {
                    text.push_str(if deep { "/**" } else { "/" });
                }
                format!("[[route]]\npath = {text:?}\nhosts = {hosts:?}\nmethods = {methods:?}\n")
            },
        )
    }

    fn request() -> impl Strategy<Value = (&'static str, String, &'static str)> {
        let segment =
            select(vec!["a", "b", "ab", "aab", "axxb", "A", "aB", "", "a;b", "ä", "äb", "c.x"]);
        let path = (prop::collection::vec(segment, 0..5), any::<bool>());
        let path = path.prop_map(|(path, slash)| {
            let text: String = path.iter().map(|segment| format!("/{segment}")).collect();
            if slash || text.is_empty() { text + "/" } else { text }
        });
        (select(ASKED.to_vec()), path, select(vec!["GET", "HEAD", "POST", "PUT"]))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_index_finds_what_trying_one_by_one_finds(
            tables in prop::collection::vec(route(), 0..24),
            requests in prop::collection::vec(request(), 64),
        ) {
            let Some(routes) = routes(&tables.concat()) else { return Ok(()) };
            let (plain, lower) = (RouteIndex::new(&routes), RouteIndex::in_lower_case(&routes));
            for (host, path, method) in &requests {
                let asked = (*host, path.as_str(), *method);
                let order = |found: Option<&Arc<Route>>| found.map(|route| route.order);
                prop_assert_eq!(
                    order(plain.find(host, path, method)),
                    order(one_by_one(&routes, false, asked)),
                    "{:?}", asked
                );
                prop_assert_eq!(
                    order(lower.find(host, path, method)),
                    order(one_by_one(&routes, true, asked)),
                    "{:?} in lower case", asked
                );
            }
        }
    }

    #[test]
    fn ten_thousand_routes_of_any_kind_are_told_apart() {
        let many = |pattern: &str| -> String {
            (0..10_000).map(|number| pattern.replace("NN", &number.to_string())).collect()
        };
        for (pattern, host, path) in [
            ("[[route]]\npath = \"/app-NN/**\"\n", "h", "/app-9999/x"),
            ("[[route]]\npath = \"/*/app-NN\"\n", "h", "/x/app-9999"),
            ("[[route]]\npath = \"/app-NN-*/x\"\n", "h", "/app-9999-y/x"),
            ("[[route]]\nhosts = [\"aNN.test\"]\n", "a9999.test", "/"),
            ("[[route]]\nhosts = [\"*.aNN.test\"]\n", "b.a9999.test", "/"),
            ("[[route]]\npath = \"/x\"\nmethods = [\"POST\"]\n# NN\n", "h", "/x"),
        ] {
            let routes = routes(&many(pattern)).unwrap();
            let index = RouteIndex::new(&routes);
            let found = index.find(host, path, "POST").unwrap();
            // Of routes that are all alike the first holds.
            let expected = if pattern.contains("# NN") { 0 } else { 9_999 };
            assert_eq!(found.order, expected, "{pattern}");
            assert_eq!(index.find(host, "/y", "PUT").unwrap().order == 9_999, path == "/");
        }
    }
}
