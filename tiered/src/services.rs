//! Which of the servers that SRV records name is asked (RFC 2782).

/// A server that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Who has the lowest is asked, as long as one of those can be.
    pub priority: u16,
    /// Its share among those of its priority.
    pub weight: u16,
    /// Whether it may be asked now.
    pub fit: bool,
}

/// Chooses one, by a number that is another one each time: of those that may be asked, or of all where none may.
#[must_use]
pub fn choose(services: &[Service], draw: u64) -> Option<usize> {
    let among = |fit_only: bool| {
        let all = services.iter().enumerate();
        let asked = all.filter(move |(_, it)| it.fit || !fit_only);
        let first = asked.clone().map(|(_, it)| it.priority).min();
        asked.filter(move |(_, it)| Some(it.priority) == first)
    };
    let candidates: Vec<_> = match services.iter().any(|it| it.fit) {
        true => among(true).collect(),
        false => among(false).collect(),
    };
    let share = |service: &Service| u64::from(service.weight.max(1));
    let all: u64 = candidates.iter().map(|(_, it)| share(it)).sum();
    // Numbers that follow each other fall far apart, and evenly.
    let spread = draw.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    // At most 32 bits of weights: there are fewer than 65,536 servers.
    let mut left = (spread * all) >> 32;
    for (index, service) in candidates {
        match left.checked_sub(share(service)) {
            Some(rest) => left = rest,
            None => return Some(index),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(priority: u16, weight: u16, fit: bool) -> Service {
        Service {
            priority,
            weight,
            fit,
        }
    }

    fn shares(services: &[Service]) -> Vec<usize> {
        let mut counts = vec![0; services.len()];
        for draw in 0..1_000 {
            counts[choose(services, draw).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn weights_are_shares_within_the_best_priority() {
        let shares = shares(&[
            service(1, 30, true),
            service(1, 10, true),
            service(2, 99, true),
        ]);
        assert!((740..=760).contains(&shares[0]), "{shares:?}");
        assert_eq!((shares[0] + shares[1], shares[2]), (1_000, 0));
    }

    #[test]
    fn the_next_priority_is_asked_when_none_of_the_first_can_be() {
        let [a, b, c] = [
            service(1, 1, false),
            service(1, 1, true),
            service(2, 1, true),
        ];
        assert_eq!(shares(&[a, b, c]), [0, 1_000, 0]);
        let b = service(1, 1, false);
        assert_eq!(shares(&[a, b, c]), [0, 0, 1_000]);
        // None can be: the first are tried.
        let c = service(2, 1, false);
        let shares = shares(&[a, b, c]);
        assert!(
            shares[0] > 400 && shares[1] > 400 && shares[2] == 0,
            "{shares:?}"
        );
    }

    #[test]
    fn no_weight_at_all_is_a_small_one() {
        assert_eq!(
            shares(&[service(0, 0, true), service(0, 0, true)]),
            [500, 500]
        );
        assert_eq!(choose(&[], 1), None);
    }
}
