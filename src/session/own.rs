//! What commands of ours answer: settings as they became, arguments that the upstream evaluated, the catalog.

use super::Session;
use super::expect::{Expect, Own};
use crate::wire::backend;
use crate::wire::frame::HEADER;
use bytes::{Buf, BytesMut};

impl Session {
    /// A row of a command of ours.
    pub(super) fn on_own_row(&mut self, own: Own, message: BytesMut) {
        let body = message.get(HEADER..).unwrap_or_default();
        let value =
            backend::first_column(body).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        match own {
            Own::Nothing | Own::Prepared(_) => {}
            Own::Reported(name) => {
                if let Some(value) = value {
                    self.reported.insert(name, value);
                }
            }
            Own::Now => {
                let at = self.view.moment();
                self.each_state(|_, view| {
                    if view.moment() == at
                        && let Some(block) = view.block_mut()
                    {
                        block.now.clone_from(&value);
                    }
                });
            }
            Own::Advisory => self.captured = value,
            Own::Notify => self.on_notify(value.unwrap_or_default()),
            Own::Catalog => {
                let mut row = message;
                row.advance(HEADER);
                self.catalog_rows.push(row);
            }
            Own::Setting { name, local } => {
                let Some(Ok(mark)) = self
                    .floor
                    .as_mut()
                    .map(|f| f.world().map(|w| w.machine.mark()))
                else {
                    return;
                };
                let at = self.view.moment();
                self.each_state(|machine, view| {
                    machine.installed_at(mark, &name, value.as_deref());
                    view.learn_setting(&at, &name, value.as_deref(), local);
                });
            }
        }
    }

    fn on_notify(&mut self, hex: String) {
        let decode = |hex: &str| -> String {
            let digits: Vec<u8> = hex
                .bytes()
                .filter_map(|b| char::from(b).to_digit(16).map(|d| d as u8))
                .collect();
            let bytes: Vec<u8> = digits
                .chunks_exact(2)
                .map(|pair| pair.iter().fold(0, |acc, d| acc * 16 + d))
                .collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (channel, payload) = hex.split_once(',').unwrap_or((&hex, ""));
        let pair = (decode(channel), decode(payload));
        let at = self.view.moment();
        self.each_state(|_, view| {
            if view.moment() != at {
                return;
            }
            let notifications = std::sync::Arc::make_mut(&mut view.notifications);
            if !notifications.contains(&pair) {
                notifications.push(pair.clone());
            }
        });
    }

    /// Applies to what is reached and to all that is planned what could not be known before.
    fn each_state(
        &mut self,
        mut change: impl FnMut(&mut crate::sandbox::machine::Machine, &mut crate::sandbox::view::View),
    ) {
        if let Some(Ok(world)) = self.floor.as_mut().map(|floor| floor.world()) {
            change(&mut world.machine, &mut self.view);
        }
        if let Some((machine, view)) = &mut self.planned {
            change(machine, view);
        }
        for expect in &mut self.queue {
            if let Expect::Advance(state) = expect {
                change(&mut state.0, &mut state.1);
            }
        }
    }
}
