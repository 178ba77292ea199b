//! What stands behind the question mark: names and texts, each name known, and given once unless it is a list.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::problem::Problem;

/// LIMIT: parameters of one request; its head is bounded as well.
const WORDS_MAX: usize = 2_048;

/// Parameters that have not been taken yet.
#[derive(Debug, Default)]
pub(super) struct Query {
    words: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl Query {
    /// Reads it as forms are written: `a=1&b=two+words`.
    pub(super) fn read(text: &str) -> Result<Query, Problem> {
        let parts = text.split('&').filter(|part| !part.is_empty());
        let mut words = Vec::new();
        for part in parts {
            if words.len() >= WORDS_MAX {
                return Err(Problem::invalid("", format!("there are more than {WORDS_MAX} parameters; give fewer")));
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decoded(name).ok_or_else(|| not_text("the name of a parameter", ""))?;
            let value = decoded(value).ok_or_else(|| not_text("the value", &name))?;
            words.push((name, value));
        }
        Ok(Query { words, known: Vec::new() })
    }

    /// The one value of a name, if it is given.
    pub(super) fn one<T: FromStr>(&mut self, name: &'static str) -> Result<Option<T>, Problem>
    where
        T::Err: ToString,
    {
        let mut all = self.many(name)?;
        let first = all.pop();
        if all.is_empty() {
            Ok(first)
        } else {
            Err(Problem::invalid(name, format!("{name} is given twice; give it once")))
        }
    }

    /// All values of a name, in their order.
    pub(super) fn many<T: FromStr>(&mut self, name: &'static str) -> Result<Vec<T>, Problem>
    where
        T::Err: ToString,
    {
        self.known.push(name);
        let (taken, left) = std::mem::take(&mut self.words).into_iter().partition(|(given, _)| given == name);
        self.words = left;
        let read = |(_, value): (String, String)| {
            value.parse().map_err(|error: T::Err| Problem::invalid(name, format!("{name}: {}", error.to_string())))
        };
        Vec::into_iter(taken).map(read).collect()
    }

    /// Nothing may be left: a name that is misspelt would do nothing, silently.
    pub(super) fn finish(self) -> Result<(), Problem> {
        match self.words.first() {
            None => Ok(()),
            Some((name, _)) => {
                let known = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
                Err(Problem::invalid(name, format!("there is no parameter {name:?} here; there are: {known}")))
            }
        }
    }
}

fn not_text(what: &str, field: &str) -> Problem {
    Problem::invalid(field, format!("{what} is no UTF-8, percent-encoded"))
}

fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(result: Result<impl Sized, Problem>) -> String {
        let problem = result.err().expect("it is refused");
        serde_json::to_value(problem).unwrap()["detail"].as_str().unwrap().to_owned()
    }

    #[test]
    fn names_are_known_given_once_and_decoded() {
        let mut query = Query::read("device=a%2Fb&limit=5&device=c+d").unwrap();
        assert_eq!(query.many::<String>("device").unwrap(), ["a/b", "c d"]);
        assert_eq!(query.one::<u32>("limit").unwrap(), Some(5));
        assert_eq!(query.one::<u32>("last").unwrap(), None);
        query.finish().unwrap();
        let mut query = Query::read("limit=1&limit=2").unwrap();
        assert_eq!(problem(query.one::<u32>("limit")), "limit is given twice; give it once");
        let mut query = Query::read("limti=1").unwrap();
        assert_eq!(query.one::<u32>("limit").unwrap(), None);
        assert_eq!(problem(query.finish()), "there is no parameter \"limti\" here; there are: limit");
        let mut query = Query::read("limit=-1").unwrap();
        assert!(problem(query.one::<u32>("limit")).starts_with("limit: invalid digit"));
        assert!(problem(Query::read("a=%ff")).contains("UTF-8"));
        assert!(problem(Query::read(&"a&".repeat(WORDS_MAX + 1))).contains("fewer"));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in ".{0,200}") {
            let _read = Query::read(&text).and_then(|mut query| {
                query.many::<String>("a")?;
                query.finish()
            });
        }
    }
}
