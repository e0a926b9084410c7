//! What is told of a request that ended: to the metrics and to the access log, from the same facts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use policy::coding::Coding;
use policy::time::Timestamp;
use wire::RequestHead;

use crate::access_log::{self, Behind, Fields, Line, Parts, Telling};
use crate::downstream::Facts;
use crate::exchange::{Exchange, Request};
use crate::metrics::{Counted, NO_RULE, NO_SITE, Tally};
use crate::node::Node;
use crate::observe::Missed;
use crate::outcome::{Forward, Local, Outcome, Reason, Share, Tier, Word};
use crate::proxy_status::Whose;
use crate::spent::{Bill, Spent};

/// A request without an outcome was given up before anybody had decided about it.
const UNDECIDED: Word = Word::Error;

impl Node {
    /// Tells the one outcome of an exchange that ends now: to the metrics and to the access log.
    pub(crate) fn finished(&self, exchange: &Exchange, sent: u64) {
        self.finished_at(exchange, sent, self.clock.instant());
    }

    /// As [`Self::finished`], for who has just looked at the clock: another look would take 25 ns.
    pub(crate) fn finished_at(&self, exchange: &Exchange, sent: u64, ended: Instant) {
        let counted = self.counted(exchange, sent, ended);
        let request = exchange.request.as_deref();
        match request {
            Some(request) => {
                request.tally().request(&counted);
                if let Some(tier) = &request.site.common.tier {
                    tier.ended(exchange);
                }
                self.count_details(exchange, request);
                self.observed.tops.sent(request, sent);
                if counted.reason.is_some() {
                    self.observed.tops.missed(request);
                }
            }
            None => self.metrics.nobody.request(&counted),
        }
        let spent = request.and_then(Request::spent_so_far);
        let bill = spent.map(|spent| spent.bill()).unwrap_or_default();
        let telling = self.log.tells(counted.word);
        let followed = self.observed.followers.any();
        let trace = request.and_then(|request| request.trace.as_ref());
        let recorded = trace.filter(|trace| trace.is_sampled());
        let wanted = telling != Telling::No || followed || recorded.is_some();
        if !wanted && counted.reason.is_none() {
            return;
        }
        if let Some(asked) = Asked::of(exchange) {
            let mut line = self.line(exchange, &asked, &counted, &bill);
            self.log.redaction().apply(&mut line);
            if followed {
                self.followed(&line);
            }
            if let Some(trace) = recorded {
                trace.served(&line, exchange.started, exchange.started + counted.took);
            }
            if let Telling::For(hits) = telling {
                line.sample = Some(hits);
            }
            match counted.reason {
                Some(reason) => self.remember(&line, reason, telling),
                None if telling != Telling::No => self.log.write(&line),
                None => {}
            }
        }
    }

    /// Hands a line over to those who follow the log.
    fn followed(&self, line: &Line<'_>) {
        if let Ok(line) = serde_json::to_value(line) {
            self.observed.followers.tell(&line);
        }
    }

    /// Remembers a request that was no hit, by its line, and tells it to the log: whoever reads the line there can ask for it.
    fn remember(&self, line: &Line<'_>, reason: Reason, telling: Telling) {
        let in_json = Bytes::from(access_log::in_json(line));
        self.observed.recent.remember(Missed {
            id: line.id,
            key: line.key,
            site: line.site.into(),
            reason,
            line: in_json.clone(),
        });
        if telling != Telling::No {
            self.log.write_kept(line, &in_json);
        }
    }

    fn counted(&self, exchange: &Exchange, sent: u64, ended: Instant) -> Counted {
        let outcome = exchange.outcome.as_ref();
        let word = outcome.map_or(UNDECIDED, Outcome::word);
        let cached = match &exchange.slices {
            Some(slices) => slices.hit_bytes.min(sent),
            None if word.is_cached() => sent,
            None => 0,
        };
        Counted {
            word,
            tier: self.tier_of(exchange),
            bytes: sent,
            cached,
            took: ended - exchange.started,
            waited: exchange.answered.map(|at| at - exchange.started),
            reason: outcome.and_then(Outcome::reason),
            collapsed: outcome.is_some_and(is_collapsed),
        }
    }

    /// How far a request went.
    fn tier_of(&self, exchange: &Exchange) -> Option<Tier> {
        let outcome = exchange.outcome.as_ref()?;
        let (tier, request) = (outcome.tier()?, exchange.request.as_deref());
        if tier != Tier::Origin {
            return Some(tier);
        }
        let whose = request.and_then(|request| request.trail.whose());
        let to_node = match whose {
            Some(whose) => whose == Whose::Node,
            // It shares the answer to another request, which went where requests go.
            None => {
                is_collapsed(outcome) && self.tiers_of(exchange).is_some_and(|it| it.asks_nodes())
            }
        };
        Some(if to_node { Tier::Parent } else { tier })
    }

    fn count_details(&self, exchange: &Exchange, request: &Request) {
        let outcome = exchange.outcome.as_ref();
        let site = &request.site.name;
        if let Some(slices) = &exchange.slices {
            self.metrics.slices(site, slices);
        }
        if let Some(why) = outcome.and_then(Outcome::forward) {
            let detail = outcome.and_then(Outcome::detail).unwrap_or("-");
            self.metrics.forwarded(site, why.as_str(), detail);
        }
        if let Some(coding) = exchange.coding {
            self.metrics.coded_response(site, coding);
        }
    }

    /// Tells what a fill has brought that no client's line tells: whoever receives it says so when nothing more comes.
    pub(crate) fn spent(&self, request: &Request, spent: &Spent) {
        let Some(bill) = spent.rest().filter(|_| self.log.is_on()) else {
            return;
        };
        let tally = request.tally();
        self.log.write_behind(&Behind {
            ended: self.clock.now(),
            kind: "background",
            id: self.ids.next(),
            site: &tally.site,
            rule: told_rule(tally),
            host: &request.head.authority,
            path: self.log.redaction().path(&request.head.target),
            key: request.storage_key(),
            origin: request.trail.next_hop(),
            origin_requests: bill.requests,
            origin_bytes: bill.bytes,
            origin_ms: bill.answered.map(milliseconds),
        });
    }

    /// Tells of what was no request.
    pub(crate) fn refused(&self, facts: &Facts, status: u16, why: &'static str) {
        let outcome = Outcome::Local(Local::Refused(why));
        let counted = Counted {
            word: outcome.word(),
            tier: None,
            bytes: 0,
            cached: 0,
            took: Duration::ZERO,
            waited: None,
            reason: None,
            collapsed: false,
        };
        self.metrics.nobody.request(&counted);
        let followed = self.observed.followers.any();
        if !self.log.is_on() && !followed {
            return;
        }
        let mut line = Line {
            detail: Some(why),
            status,
            ..self.blank(facts, self.clock.now(), &counted)
        };
        self.log.redaction().apply(&mut line);
        if followed {
            self.followed(&line);
        }
        if self.log.is_on() {
            self.log.write(&line);
        }
    }

    fn line<'a>(
        &'a self,
        exchange: &'a Exchange,
        asked: &Asked<'a>,
        counted: &Counted,
        bill: &Bill,
    ) -> Line<'a> {
        let Asked {
            head,
            facts,
            request,
        } = asked;
        let outcome = exchange.outcome.as_ref();
        let [referer, user_agent] = access_log::referer_and_agent(&head.headers);
        let tally = request.map(Request::tally);
        let spent = request.is_some_and(|request| request.spent_so_far().is_some());
        Line {
            trace_id: request.and_then(|it| it.trace.as_ref()).map(|it| it.id),
            site: tally.map_or(NO_SITE, |tally| &tally.site),
            rule: tally.and_then(|tally| told_rule(tally)),
            method: head.method.as_str(),
            host: Some(&head.authority),
            path: &head.target,
            protocol: access_log::protocol(head.version),
            status: exchange.status.map_or(0, |status| status.as_u16()),
            fwd: outcome.and_then(Outcome::forward).map(Forward::as_str),
            detail: outcome.and_then(Outcome::detail),
            ttl: outcome.and_then(Outcome::ttl),
            age: exchange.age.map(|age| age.as_secs()),
            key: request.map(Request::storage_key),
            slices: exchange.slices.map(|slices| Parts {
                hit: slices.hits,
                miss: slices.misses,
            }),
            coding: exchange.coding.map(Coding::as_str),
            content_type: exchange.content_type.as_ref().map(access_log::text),
            origin: request.and_then(|request| request.trail.next_hop()),
            origin_status: outcome
                .and_then(access_log::origin_status)
                .map(|status| status.as_u16()),
            origin_requests: spent.then_some(bill.requests),
            origin_bytes: spent.then_some(bill.bytes),
            origin_ms: bill.answered.map(milliseconds),
            upstream: exchange.upstream.as_ref().map(access_log::text),
            referer,
            user_agent,
            request_fields: Fields::of(self.log.request_fields(), &head.headers),
            response_fields: Fields::of(self.log.response_fields(), &exchange.fields),
            ..self.blank(facts, exchange.received, counted)
        }
    }

    /// A line of a request that nothing but its end is known of.
    fn blank<'a>(&'a self, facts: &Facts, received: Timestamp, counted: &Counted) -> Line<'a> {
        Line {
            received,
            id: self.ids.next(),
            trace_id: None,
            node: &self.name,
            tls: facts.tls.map(|tls| tls.version),
            cipher: facts.tls.map(|tls| tls.cipher),
            client: facts.client.ip().to_canonical(),
            site: NO_SITE,
            rule: None,
            method: "-",
            scheme: facts.scheme.as_str(),
            host: None,
            path: "-",
            protocol: "-",
            status: 0,
            bytes: counted.bytes,
            cached_bytes: counted.cached,
            outcome: counted.word.as_str(),
            sample: None,
            reason: counted.reason.map(Reason::as_str),
            fwd: None,
            detail: None,
            tier: counted.tier.map(Tier::as_str),
            ttl: None,
            age: None,
            collapsed: counted.collapsed,
            key: None,
            coding: None,
            content_type: None,
            slices: None,
            origin: None,
            origin_status: None,
            origin_requests: None,
            origin_bytes: None,
            origin_ms: None,
            duration_ms: milliseconds(counted.took),
            ttfb_ms: counted.waited.map(milliseconds),
            referer: None,
            user_agent: None,
            upstream: None,
            request_fields: Fields::default(),
            response_fields: Fields::default(),
        }
    }
}

/// Who asked for what, whether or not it is for one of the sites.
struct Asked<'a> {
    head: &'a RequestHead,
    facts: &'a Facts,
    request: Option<&'a Request>,
}

impl<'a> Asked<'a> {
    fn of(exchange: &'a Exchange) -> Option<Self> {
        if let Some(request) = exchange.request.as_deref() {
            return Some(Self {
                head: &request.head,
                facts: &request.facts,
                request: Some(request),
            });
        }
        let (head, facts) = exchange.stranger.as_ref()?;
        Some(Self {
            head,
            facts,
            request: None,
        })
    }
}

fn told_rule(tally: &Arc<Tally>) -> Option<&str> {
    Some(tally.rule.as_str()).filter(|rule| *rule != NO_RULE)
}

fn is_collapsed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Forwarded(forwarded) if forwarded.share == Share::Collapsed)
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
