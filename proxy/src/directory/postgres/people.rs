//! When people of an existing application logged out everywhere: in a table of ours, since theirs are only read. What
//! their query answers is completed with it. Rows stay for good: nobody but the application knows how long its sessions
//! live.

use std::collections::HashMap;

use super::PostgresDirectory;
use super::foreign::People;
use super::own::OwnQuery;
use crate::clock::Timestamp;
use crate::context::{User, UserId};
use crate::directory::DirectoryError;
use crate::directory::rows::{column, texts, time};

/// A user who logged out everywhere.
pub(in crate::directory) struct Marked {
    /// As they stand.
    pub(in crate::directory) user: User,
    /// Whether the moment is a new one.
    pub(in crate::directory) is_new: bool,
}

impl PostgresDirectory {
    /// Users as the operator's query has them, with the moments that are kept here.
    pub(super) async fn users_of_application(
        &self,
        query: &OwnQuery,
        ids: &[UserId],
    ) -> Result<Vec<User>, sqlx::Error> {
        let mut users = self.own.users(query, &self.pool, ids).await?;
        if users.is_empty() || self.rights_to_people().await? == People::Nowhere {
            return Ok(users);
        }
        let ids: Vec<&UserId> = users.iter().map(|user| &user.id).collect();
        let moments = self.moments(&texts(&ids)).await.inspect_err(|_| {
            // The table or the right may be gone: looked at again before the next answer.
            self.place.forget();
        })?;
        for user in &mut users {
            user.sessions_valid_after = user.sessions_valid_after.max(moments.get(user.id.as_str()).copied());
        }
        Ok(users)
    }

    /// As far as it is known: where there was no table, whoever watches over it finds the new one, and no lookup does.
    async fn rights_to_people(&self) -> Result<People, sqlx::Error> {
        match self.place.people() {
            Some(people) => Ok(people),
            None => Ok(self.known_place().await?.people),
        }
    }

    async fn moments(&self, ids: &[String]) -> Result<HashMap<String, Timestamp>, sqlx::Error> {
        let query = sqlx::query_as::<_, (String, i64)>(
            "SELECT id, sessions_valid_after FROM countersign_foreign_users WHERE id = ANY($1)",
        );
        let rows = query.bind(ids).persistent(self.keeps).fetch_all(&self.pool).await?;
        rows.into_iter().map(|(id, moment)| Ok((id, time(moment)?))).collect()
    }

    /// From now on every session of `user` that began before `now` is over; `None` for somebody unknown.
    ///
    /// # Errors
    /// `ReadOnly` where there is no place for it.
    pub(in crate::directory) async fn mark_user(
        &self,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Option<Marked>, DirectoryError> {
        let Some(query) = &self.own.user else { return Err(DirectoryError::ReadOnly) };
        if self.watch.within(self.known_place()).await?.people != People::Written {
            return Err(DirectoryError::ReadOnly);
        }
        let marked = self.watch.within(self.move_moment(query, user, now)).await;
        if matches!(marked, Err(DirectoryError::Unreadable)) {
            self.place.forget();
        }
        marked
    }

    async fn move_moment(
        &self,
        query: &OwnQuery,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Option<Marked>, sqlx::Error> {
        let users = self.own.users(query, &self.pool, std::slice::from_ref(user)).await?;
        let Some(mut user) = users.into_iter().next() else { return Ok(None) };
        let mut transaction = self.pool.pool.begin_with("BEGIN READ WRITE").await?;
        let moving = sqlx::query(
            "INSERT INTO countersign_foreign_users AS kept (id, sessions_valid_after) VALUES ($1, $2) \
             ON CONFLICT (id) DO UPDATE SET sessions_valid_after = EXCLUDED.sessions_valid_after \
             WHERE kept.sessions_valid_after < EXCLUDED.sessions_valid_after",
        );
        let moving = moving.bind(user.id.as_str()).bind(column(now)).persistent(self.keeps);
        let is_new = moving.execute(&mut *transaction).await?.rows_affected() > 0;
        transaction.commit().await?;
        let moments = self.moments(&texts(std::slice::from_ref(&user.id))).await?;
        user.sessions_valid_after = user.sessions_valid_after.max(moments.get(user.id.as_str()).copied());
        Ok(Some(Marked { user, is_new }))
    }
}
