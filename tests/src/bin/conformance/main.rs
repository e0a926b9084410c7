//! Runs the public HTTP cache test suite against a real node, and judges the verdicts.
//!
//! ```text
//! cargo run -p larder-tests --bin conformance -- [OPTIONS]
//!   --profile NAME      `shipped` or `literal` settings; both, one after the other, if absent
//!   --accept            write the verdicts of this run to conformance/expected.tsv
//!   --suite DIR         a checkout of the suite's current tree, its dependencies installed
//!   --definitions FILE  the ids, kinds and dependencies of its tests, where it is another one
//!   --tiers NUMBER      with `2`, the node that is tested has another one as its parent
//!   --proxy URL         test this proxy instead of starting Larder
//!   --origin-port PORT  where that proxy expects its origin (8000)
//!   --trace ID          run one test and show what went over the wire
//! ```
//!
//! The gate: with the literal settings no required test may do anything but pass, and of the
//! current tree no optimal one either, unless `exceptions.tsv` names it with a clause; and no test
//! of the pinned suite may have another verdict than `expected.tsv` says, unless through two tiers. `conformance/README.md`
//! explains the two profiles and the verdicts.

#![forbid(unsafe_code)]

mod exceptions;
mod expected;
mod options;
mod report;
mod score;
mod subject;
mod suite;

use std::process::ExitCode;

use exceptions::Exceptions;
use expected::Expected;
use options::Options;
use report::{Report, Run};
use score::Definitions;
use subject::{Profile, Subject};
use suite::Suite;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(message) => {
            report::complain(&message);
            ExitCode::FAILURE
        }
    }
}

/// The number of failures.
async fn run() -> Result<usize, String> {
    let options = Options::parse(std::env::args().skip(1))?;
    let suite = Suite::find(options.suite.as_deref())?;
    if let Some(test) = &options.trace {
        return trace(&suite, &options, test).await;
    }
    let definitions = Definitions::load(&options.definitions())?;
    let mut expected = Expected::load()?;
    let exceptions = match options.exceptions() {
        Some(path) => Exceptions::load(&path)?,
        None => Exceptions::default(),
    };
    let mut report = Report::default();

    for profile in options.profiles() {
        let results = measure(&suite, &options, profile).await?;
        let verdicts = definitions.judge(&results);
        report.profile(&Run {
            title: options.title(profile),
            profile,
            definitions: &definitions,
            results: &results,
            verdicts: &verdicts,
            expected: options.is_pinned().then(|| expected.of(profile)),
            exceptions: &exceptions,
            gated: options.gated(),
        });
        if options.accept {
            expected.accept(profile, &verdicts);
        }
    }
    if options.accept {
        expected.save(&definitions)?;
    }
    Ok(report.conclude())
}

async fn measure(
    suite: &Suite,
    options: &Options,
    profile: Profile,
) -> Result<score::Results, String> {
    let origin = suite.serve(options.origin_port()).await?;
    let subject = Subject::start(options, origin.port(), profile).await;
    let output = suite.run(&subject.url(), None).await?;
    score::Results::parse(&output)
}

async fn trace(suite: &Suite, options: &Options, test: &str) -> Result<usize, String> {
    let origin = suite.serve(options.origin_port()).await?;
    let profile = options.profile.unwrap_or(Profile::Literal);
    let subject = Subject::start(options, origin.port(), profile).await;
    report::show(&suite.run(&subject.url(), Some(test)).await?);
    Ok(0)
}
