//! What a start would refuse of a configuration, as far as the files tell that it names: nothing is opened or taken.

use config::model;

use super::egress::Pools;
use super::simulated::simulated;
use super::{in_force, telemetry, tier};
use crate::run::StartError;
use crate::token;

/// Reads what a configuration names: certificates, keys, secrets, tokens.
///
/// # Errors
/// The sentence that a start would end with, of the first file that cannot be used.
pub fn check(config: &model::Config) -> Result<(), String> {
    simulated(config.clone())?;
    read(config).map_err(|error| error.to_string())
}

fn read(config: &model::Config) -> Result<(), StartError> {
    if let Some(tier) = config.tier.clone() {
        tier::ready(tier, 1, &Pools::new())?;
    }
    in_force::handshakes((&config.node, &config.tls), tier::peers(config), None)?;
    if let Some(telemetry) = &config.telemetry {
        telemetry::way(telemetry)?;
    }
    let tokens = config.admin.tokens.iter().map(|token| &token.file);
    // One that is not there is made by a start.
    let own = config.admin.token_file.iter().filter(|file| file.exists());
    for file in tokens.chain(own) {
        token::read(file).map_err(StartError::System)?;
    }
    Ok(())
}
