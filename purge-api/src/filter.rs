//! Which purges of the audit trail a client wants to see.

use crate::order::{Mode, Order, Scope};

/// Purges on a page, at most and where the client does not say.
const PAGE_MAX: usize = 1000;
const PAGE: usize = 100;

/// What the query of `GET /v1/purges` asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filter {
    /// Only what comes before this sequence.
    pub before: Option<u64>,
    /// Purges on the page.
    pub limit: usize,
    mode: Option<Mode>,
    scope: Option<String>,
    site: Option<String>,
    contains: Option<String>,
    actor: Option<String>,
    by: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

impl Filter {
    /// Reads a query.
    ///
    /// # Errors
    /// A sentence about the parameter that is wrong.
    pub fn parse(query: Option<&str>) -> Result<Self, String> {
        let mut filter = Self {
            before: None,
            limit: PAGE,
            mode: None,
            scope: None,
            site: None,
            contains: None,
            actor: None,
            by: None,
            since: None,
            until: None,
        };
        let query = query.unwrap_or_default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            filter.set(&name, value.into_owned())?;
        }
        Ok(filter)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "before" => self.before = Some(number(name, &value)?),
            "limit" => self.limit = page(name, &value)?,
            "mode" => {
                self.mode = Some(match value.as_str() {
                    "hard" => Mode::Hard,
                    "soft" => Mode::Soft,
                    _ => return Err("`mode` is hard or soft".to_owned()),
                });
            }
            "scope" => {
                if !Scope::WORDS.contains(&value.as_str()) {
                    return Err(format!("`scope` is one of {}", Scope::WORDS.join(", ")));
                }
                self.scope = Some(value);
            }
            "site" => self.site = Some(value),
            "contains" => self.contains = Some(value),
            "actor" => self.actor = Some(value),
            "by" => self.by = Some(value),
            "since" => self.since = Some(value),
            "until" => self.until = Some(value),
            _ => return Err(format!("there is no parameter `{name}`")),
        }
        Ok(())
    }

    /// Whether a purge belongs to the trail that is asked for, on whatever page.
    #[must_use]
    pub fn admits(&self, order: &Order) -> bool {
        let any = |test: &dyn Fn(&Scope) -> bool| order.scopes.iter().any(test);
        self.mode.is_none_or(|mode| order.mode == mode)
            && is(&self.actor, order.actor.as_ref())
            && is(&self.by, Some(&order.by))
            && self
                .scope
                .as_ref()
                .is_none_or(|word| any(&|it| it.word() == word))
            && self
                .site
                .as_ref()
                .is_none_or(|site| any(&|it| it.site() == Some(site)))
            && self
                .contains
                .as_ref()
                .is_none_or(|part| any(&|it| it.text().contains(part)))
            // Moments in RFC 3339 and UTC sort like their texts.
            && self.since.as_ref().is_none_or(|it| order.accepted_at >= *it)
            && self.until.as_ref().is_none_or(|it| order.accepted_at <= *it)
    }
}

fn is(wanted: &Option<String>, found: Option<&String>) -> bool {
    wanted.is_none() || wanted.as_ref() == found
}

fn number(name: &str, value: &str) -> Result<u64, String> {
    value
        .parse()
        .map_err(|_not_one| format!("`{name}` is a number, not `{value}`"))
}

/// The `limit` of a query that may have no other parameter.
pub(crate) fn limit(query: Option<&str>) -> Result<usize, String> {
    let mut limit = PAGE;
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name != "limit" {
            return Err(format!("there is no parameter `{name}`"));
        }
        limit = page(&name, &value)?;
    }
    Ok(limit)
}

fn page(name: &str, value: &str) -> Result<usize, String> {
    let limit = usize::try_from(number(name, value)?).ok();
    let limit = limit.filter(|limit| (1..=PAGE_MAX).contains(limit));
    limit.ok_or_else(|| format!("`{name}` is 1 to {PAGE_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::Stamp;

    fn order(scopes: Vec<Scope>, mode: Mode, at: &str) -> Order {
        let stamp = Stamp {
            id: "i".to_owned(),
            by: "shop".to_owned(),
            accepted_at: at.to_owned(),
        };
        Order::new(scopes, mode, stamp).unwrap()
    }

    #[track_caller]
    fn check(query: &str, admitted: bool) {
        let tag = Scope::Tag {
            site: Some("s".to_owned()),
            tag: "product 42".to_owned(),
        };
        let order = order(vec![tag], Mode::Soft, "2026-01-02T00:00:00Z");
        let filter = Filter::parse(Some(query)).unwrap();
        assert_eq!(filter.admits(&order), admitted, "{query}");
    }

    #[test]
    #[rustfmt::skip]
    fn every_parameter_narrows() {
        check("",                           true);
        check("mode=soft",                  true);
        check("mode=hard",                  false);
        check("scope=tag&site=s",           true);
        check("scope=url",                  false);
        check("site=t",                     false);
        check("contains=product+42",        true);
        check("contains=product%2043",      false);
        check("by=shop",                    true);
        check("by=other",                   false);
        check("actor=me",                   false);
        check("since=2026-01-01",           true);
        check("since=2026-01-03",           false);
        check("until=2026-01-01",           false);
    }

    #[test]
    fn what_is_no_parameter_says_so() {
        for wrong in [
            "a=b",
            "limit=0",
            "limit=1001",
            "limit=x",
            "before=-1",
            "mode=x",
            "scope=x",
        ] {
            assert!(Filter::parse(Some(wrong)).is_err(), "{wrong}");
        }
        assert_eq!(Filter::parse(Some("limit=1000")).unwrap().limit, PAGE_MAX);
        assert_eq!(Filter::parse(None).unwrap().limit, PAGE);
        assert_eq!((limit(None), limit(Some("limit=3"))), (Ok(PAGE), Ok(3)));
        assert!(limit(Some("limit=0")).is_err() && limit(Some("by=x")).is_err());
    }
}
