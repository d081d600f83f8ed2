//! The steps for sessions of other frameworks: what lies in the store and in tables, what is ours beside it, and what it
//! says of the user's password.

use super::{Looking, Seen, Verdict};
use crate::context::{Layer, Password, PasswordClaim, Resolution, User};
use crate::directory::TableSession;
use crate::formats::table::Table;
use crate::formats::{Claimed, Format, Refusal, trace};
use crate::reason::Reason;
use crate::resolve::{foreign, reason_of};
use crate::store::Lookup;
use crate::store::foreign::ForeignAnswer;

impl Looking<'_> {
    pub(super) async fn resolve_foreign(
        &mut self,
        format: &Format,
        claimed: &Claimed,
    ) -> Result<Resolution, Resolution> {
        if claimed.ends.is_some_and(|end| end <= self.now) {
            self.say("lifetime", Verdict::Bad, "the cookie itself says that it is over");
            return Err(Resolution::Unknown(Reason::SessionExpired));
        }
        let (answer, store_failure) = self.beside(format, claimed).await?;
        let row = self.row(format, claimed, &answer).await?;
        if let Some(reason) = store_failure.filter(|_| row.is_none() && format.is_in_store()) {
            return Err(Resolution::Undetermined(reason));
        }
        let (step, layer) = match row {
            Some(_) => ("directory", Layer::Directory),
            None => ("store", Layer::Store),
        };
        match foreign::session_of(format, claimed, &answer, row.as_ref(), self.now) {
            Ok((session, password)) => {
                let found = format!("holds the session of user {}, until {}", session.user, session.expires);
                self.say(step, Verdict::Good, found);
                let seen = Seen { session, password, last_use: self.now, layer, store_failure };
                self.entities(seen).await
            }
            Err(reason) => {
                let found = match (&format.table, &row) {
                    (Some(table), Some(row)) => self.why_not_row(format, table, row),
                    (Some(table), None) if answer.session == Lookup::Missing => table.nothing_there(),
                    _ => self.why_not(format, &answer),
                };
                let step = if format.is_in_store() && row.is_none() { "store" } else { "directory" };
                self.say(step, Verdict::Bad, found);
                Err(Resolution::Unknown(reason))
            }
        }
    }

    /// What the store says, with what the directory keeps beside the session where the store is away or lacks it.
    async fn beside(
        &mut self,
        format: &Format,
        claimed: &Claimed,
    ) -> Result<(ForeignAnswer, Option<Reason>), Resolution> {
        let (mut answer, store_failure) =
            match self.store.foreign_session(&foreign::key_of(format, claimed)).await {
                Ok(answer) => (answer, None),
                Err(error) => {
                    self.say("store", Verdict::Undetermined, error.to_string());
                    (ForeignAnswer::NOTHING, Some(reason_of(error)))
                }
            };
        if answer.ended {
            self.say("store", Verdict::Bad, "holds the mark that the session was ended");
            return Err(Resolution::Unknown(Reason::SessionEnded));
        }
        if answer.own.version.is_some() {
            return Ok((answer, store_failure));
        }
        match (self.directory.foreign_records(std::slice::from_ref(&claimed.session)).await, store_failure) {
            (Ok(records), _) => {
                if let Some(record) = records.first() {
                    if let Some(moment) = record.ended {
                        self.say("directory", Verdict::Bad, format!("the session was ended at {moment}"));
                        return Err(Resolution::Unknown(Reason::SessionEnded));
                    }
                    answer.own.complete(record);
                }
            }
            (Err(error), Some(reason)) => {
                let found = format!("cannot say whether the session was ended here: {error}");
                self.say("directory", Verdict::Undetermined, found);
                return Err(Resolution::Undetermined(reason));
            }
            (Err(_), None) => {}
        }
        Ok((answer, store_failure))
    }

    /// The row in the table, where the session may lie there and the store has not said all.
    async fn row(
        &mut self,
        format: &Format,
        claimed: &Claimed,
        answer: &ForeignAnswer,
    ) -> Result<Option<TableSession>, Resolution> {
        let (Some(table), Some(key)) = (&format.table, &claimed.row) else { return Ok(None) };
        if answer.session != Lookup::Missing {
            return Ok(None);
        }
        if table.behind_store {
            self.say("store", Verdict::Silent, "has no such session: the table is asked");
        }
        match self.directory.table_sessions(&table.query, &[key]).await {
            Ok(rows) => Ok(rows.into_iter().find(|row| row.key.expose() == key.expose())),
            Err(error) => {
                let found = format!("{error}: `check --connect` says more about `{}`", table.query.key);
                self.say("directory", Verdict::Undetermined, found);
                Err(Resolution::Undetermined(Reason::StoreUnavailable))
            }
        }
    }

    /// Which check the row fails, and what to look at.
    fn why_not_row(&self, format: &Format, table: &Table, row: &TableSession) -> String {
        match table.read(foreign::row_of(row), self.now) {
            Ok(_) => "holds the session".to_owned(),
            Err(refusal @ Refusal::Expired) => {
                format!("{refusal}: its row says {}", row.ends)
            }
            Err(Refusal::Unreadable(error)) => {
                format!("{error}: compare `secrets`, `serializer` and `encrypted` with the application's")
            }
            Err(refusal) => trace::advice(format, refusal),
        }
    }

    /// Which check the stored session fails, and what to look at.
    fn why_not(&self, format: &Format, answer: &ForeignAnswer) -> String {
        let raw = match &answer.session {
            Lookup::Found(raw) => raw,
            Lookup::Missing => return trace::nothing_there(format),
            Lookup::Unreadable => {
                let expected = if format.decoder.reads_hash() { "a hash" } else { "a string" };
                return format!("what lies there is of another type than {expected}, which the format keeps");
            }
        };
        let ends = answer.lives.map(|lives| self.now.plus(lives));
        match format.read(raw, ends, self.now) {
            Ok(_) => "holds the session".to_owned(),
            Err(refusal @ Refusal::Unreadable(_)) => {
                format!("{}; it looks like {}", trace::advice(format, refusal), trace::looks_like(raw))
            }
            Err(refusal @ Refusal::Anonymous) => {
                format!("{}; {}", trace::advice(format, refusal), trace::paths_and_fields(format, raw))
            }
            Err(refusal) => trace::advice(format, refusal),
        }
    }

    /// Whether the session began with the password that the user has now. Against it only the directory itself can speak:
    /// the user at hand may be from the store.
    pub(super) async fn password(&mut self, claim: &PasswordClaim, user: &User) -> Result<(), Resolution> {
        let mut judged = claim.judge(&user.passwords);
        if judged != Password::Same {
            let users = self.directory.users(std::slice::from_ref(&user.id)).await.unwrap_or_default();
            judged = users.first().map_or(Password::Unsaid, |fresh| claim.judge(&fresh.passwords));
        }
        match judged {
            Password::Same => {
                self.say("password", Verdict::Good, "the user has the password with which the session began");
                Ok(())
            }
            Password::Changed => {
                let found = "the user has another password than the one with which the session began; if nobody changed \
                             it, `secrets` are not the application's SECRET_KEY and SECRET_KEY_FALLBACKS";
                self.say("password", Verdict::Bad, found);
                Err(Resolution::Unknown(Reason::PasswordChanged))
            }
            Password::Unsaid => {
                self.say(
                    "password",
                    Verdict::Undetermined,
                    "the directory cannot say which password the user has",
                );
                Err(Resolution::Undetermined(Reason::StoreUnavailable))
            }
        }
    }
}
