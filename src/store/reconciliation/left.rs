//! Days that are left over: nobody has compared them when it was their time, or whoever began has not come to the end.

use std::collections::BTreeSet;

use jiff::civil::Date;

use crate::store::{Store, StoreError, fetch_all, fetch_one};

impl Store {
    /// The days of a provider from the first to the last of `days` that are not compared, as far as it was there, and those
    /// before them on which somebody has begun and not ended; the oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_left_days(
        &self,
        provider: &str,
        (first, last): (Date, Date),
    ) -> Result<Vec<Date>, StoreError> {
        let provider = provider.to_owned();
        let (oldest, ended, running) = self
            .read_snapshot(move |db| {
                Box::pin(async move {
                    let (oldest,) = fetch_one!(
                        db,
                        (Option<String>,),
                        "SELECT MIN(day) FROM recon_runs WHERE provider = $1",
                        provider.as_str(),
                    )?;
                    let ended = fetch_all!(
                        db,
                        (String,),
                        "SELECT day FROM recon_runs
                         WHERE provider = $1 AND day >= $2 AND kind IN ('transactions', 'settlements')
                           AND status NOT IN ('running', 'failed')
                         GROUP BY day
                         HAVING COUNT(*) = 2",
                        provider.as_str(),
                        first.to_string(),
                    )?;
                    let running = fetch_all!(
                        db,
                        (String,),
                        "SELECT day FROM recon_runs
                         WHERE provider = $1 AND day < $2 AND status = 'running'",
                        provider.as_str(),
                        first.to_string(),
                    )?;
                    Ok::<_, StoreError>((oldest, ended, running))
                })
            })
            .await?;
        let Some(oldest) = oldest.and_then(|day| day.parse::<Date>().ok()) else {
            return Ok(Vec::new());
        };
        let ended: BTreeSet<Date> = ended.iter().filter_map(|(day,)| day.parse().ok()).collect();
        let mut left: BTreeSet<Date> =
            running.iter().filter_map(|(day,)| day.parse().ok()).collect();
        let mut day = first.max(oldest);
        while day <= last {
            if !ended.contains(&day) {
                left.insert(day);
            }
            let Ok(next) = day.tomorrow() else { break };
            day = next;
        }
        Ok(left.into_iter().collect())
    }
}
