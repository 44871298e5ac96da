//! ParameterStatus: what the client is told of its settings.

use super::{Session, Stop};
use crate::audit::EndReason;
use crate::wire::backend;
use crate::wire::frame::HEADER;
use std::sync::Arc;

impl Session {
    /// ReadyForQuery, and before it the one reported setting that the upstream does not know of.
    pub(super) fn ready(&mut self) {
        const NAME: &str = "default_transaction_read_only";
        let value = if self.view.default_read_only() {
            "on"
        } else {
            "off"
        };
        if let Some(reported) = self
            .reported
            .get_mut(NAME)
            .filter(|reported| *reported != value)
        {
            value.clone_into(reported);
            backend::parameter_status(&mut self.client.out, NAME, value);
        }
        self.report_settings();
        let status = self.view.status();
        backend::ready(&mut self.client.out, status);
    }

    /// Tells the client of settings that the end of its transaction changed: the upstream's own are put back
    /// only before the next statement.
    fn report_settings(&mut self) {
        let effective = self.view.settings.effective();
        if Arc::ptr_eq(effective, &self.told) {
            return;
        }
        self.told = effective.clone();
        for (name, at_login) in &self.at_login {
            let changed = self.view.settings.changed(&name.to_lowercase());
            let value = changed.unwrap_or(at_login);
            if let Some(reported) = self.reported.get_mut(name).filter(|r| *r != value) {
                value.clone_into(reported);
                backend::parameter_status(&mut self.client.out, name, value);
            }
        }
    }

    /// What the upstream has because of the sandbox is no news; what the client is to believe of its settings
    /// is told by [`Self::report_settings`]. Code of the client may set more than was seen in its text.
    pub(super) fn on_parameter_status(&mut self, message: &[u8]) -> Result<(), Stop> {
        let mut fields = message
            .get(HEADER..)
            .unwrap_or_default()
            .split(|byte| *byte == 0);
        let (Some(name), Some(value)) = (fields.next(), fields.next()) else {
            return Ok(());
        };
        let name = String::from_utf8_lossy(name).into_owned();
        let value = String::from_utf8_lossy(value).into_owned();
        if name == "client_encoding" && crate::plan::unsafe_encoding(&value).is_some() {
            // SET is refused, so this was done by code: nobody's next statement may be read in it.
            return Err(Stop::Ended(EndReason::UnsafeEncoding));
        }
        if matches!(
            name.as_str(),
            "in_hot_standby" | "default_transaction_read_only"
        ) {
            return Ok(());
        }
        let Some(Ok(world)) = self.floor.as_mut().map(|floor| floor.world()) else {
            return Ok(());
        };
        if world.machine.is_failed() {
            return Ok(());
        }
        let installed = world.machine.installed_value(&name.to_lowercase());
        let ours = installed.or(self.sandbox.parameters.get(&name).map(String::as_str));
        if ours != Some(value.as_str()) && self.reported.get(&name) != Some(&value) {
            self.client.out.extend_from_slice(message);
            self.reported.insert(name, value);
        }
        Ok(())
    }
}
