//! Who may take what from whom, and in which order of preference.

use std::cell::OnceCell;
use std::cmp::Reverse;

use crate::model::{Class, Millis, Preemptible, RevokeCause, Snapshot};
use crate::tree::{Demand, Tree, Vertex};
use crate::work::{Piece, PieceIx, Work};

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub job: usize,
    pub leaf: Vertex,
    pub line: Vertex,
    pub demands: Vec<Demand>,
    /// One replica above the gang: it preempts by priority only what is above a gang, too, and makes nobody move.
    pub growth: bool,
    /// Bit d: what it asks for may be owed by the guarantee at depth d. Growth is owed only where its gang is inside.
    pub may_be_owed: u64,
    /// May others be migrated for it?
    pub moves: bool,
    /// Bit d: it may take by priority what is inside the guarantee at depth d; see [`Claim::displaces`].
    pub displaces: OnceCell<u64>,
}

impl Claim {
    /// At which depths from its account up may it take by priority what is inside the guarantee there? Where it would be inside in the place of all
    /// that it may take so; or where nobody waits who would have less than its account then has. Else the account would borrow so more than its
    /// share, and they would take that back; and what was inside would come back, too, to be taken once more.
    fn displaces(&self, snapshot: &Snapshot, tree: &Tree, work: &Work) -> u64 {
        *self.displaces.get_or_init(|| {
            let account = account_of(tree, self.line);
            let priority = snapshot.jobs[self.job].priority;
            let lower = |ix: &&PieceIx| {
                let piece = &work.pieces[**ix];
                piece.alive
                    && snapshot.jobs[piece.job].priority < priority
                    && may_be_stopped(snapshot, tree, piece)
            };
            let leaves = tree.children(self.line).iter().chain([&self.line]);
            let lower: Vec<PieceIx> =
                leaves.flat_map(|leaf| work.of_leaf[*leaf].iter().filter(lower)).copied().collect();
            let theirs: Vec<Demand> =
                lower.iter().flat_map(|ix| work.pieces[*ix].demands.iter().copied()).collect();
            let allowed = tree.path(account).filter(|vertex| {
                tree.covers_instead(*vertex, &self.demands, &theirs)
                    || !tree.is_envied(*vertex, &self.demands)
            });
            allowed.map(|vertex| 1 << tree.depth(vertex)).sum()
        })
    }

    /// Is what it asks for covered by what this vertex of its is guaranteed?
    fn is_owed(&self, tree: &Tree, mine: Vertex) -> bool {
        let bit = 1 << tree.depth(mine);
        self.may_be_owed & bit != 0 && tree.promises(mine) && tree.owed(self.leaf, &self.demands) & bit != 0
    }
}

/// What kind of loss it is, the lightest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    /// Best effort yields.
    Spare,
    /// Borrowed over the guarantee.
    Borrowed,
    /// Of lower priority in the same account.
    Lower,
    /// Must find another place, or stays.
    Moved,
}

/// By what right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    pub loss: Loss,
    pub cause: RevokeCause,
    /// The victim's vertex where the two part.
    pub level: Vertex,
}

/// Victims are taken from the smallest: light losses, then the greatest borrower, the lowest priority, the least work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    loss: Loss,
    running: bool,
    share: Reverse<i64>,
    leaf_share: Reverse<i64>,
    priority: i32,
    gang: bool,
    lost_work: i64,
    /// When it was submitted, and its ordinal.
    job: Reverse<(Millis, usize)>,
    replica: Reverse<u32>,
}

impl Key {
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// Does it come before one of the same weight that runs (or not) and whose account has this share?
    pub fn is_before(&self, running: bool, share: Reverse<i64>) -> bool {
        (self.running, self.share) < (running, share)
    }
}

/// May `claim` take a piece, and why?
pub(crate) fn right(
    snapshot: &Snapshot,
    tree: &Tree,
    work: &Work,
    claim: &Claim,
    ix: PieceIx,
) -> Option<Right> {
    let piece = &work.pieces[ix];
    let victim = &snapshot.jobs[piece.job];
    if !piece.alive || piece.fresh || piece.job == claim.job || victim.closed {
        return None;
    }
    let claimant = &snapshot.jobs[claim.job];
    let protected = !piece.promised && snapshot.now - piece.started < snapshot.settings.protection_ms;
    let parted = tree.part(claim.leaf, piece.leaf);
    let own_level = piece.leaf;
    if piece.charge.firm {
        return None;
    }
    // growth takes no gang by priority, but what is above one
    let lower =
        claim.line == piece.line && claimant.priority > victim.priority && (!claim.growth || piece.surplus);
    if claimant.class == Class::BestEffort {
        let yields = piece.charge.best_effort && lower && !protected;
        return yields.then_some(Right { loss: Loss::Lower, cause: RevokeCause::Priority, level: own_level });
    }
    // who is owed a guarantee is kept waiting by no protection
    let owed = parted.is_some_and(|(mine, _)| claim.is_owed(tree, mine));
    if piece.charge.best_effort {
        // it took what was idle, and that is over, however lately it began
        return Some(Right { loss: Loss::Spare, cause: RevokeCause::BestEffortYields, level: own_level });
    }
    if let Some((mine, theirs)) = parted {
        // work of an account's own queue has no guarantee beside people who have one
        let siblings = tree.parent(mine) == tree.parent(theirs);
        let inside = siblings && piece.charge.inside & (1 << tree.depth(theirs)) != 0;
        // who has no more than was promised keeps it, whichever piece counts as what
        let borrows =
            || !tree.promises(theirs) || !tree.covers_instead(theirs, &piece.demands, &piece.demands);
        if !inside && owed && tree.parent(theirs) != mine && borrows() {
            return Some(Right { loss: Loss::Borrowed, cause: RevokeCause::Reclaimed, level: theirs });
        }
        let strangers = siblings && claim.line != piece.line;
        if !inside && strangers && !protected && evens_out(tree, work, claim, ix, (mine, theirs)) {
            return Some(Right { loss: Loss::Borrowed, cause: RevokeCause::FairShare, level: theirs });
        }
    }
    let preempts = lower && !protected && may_be_stopped(snapshot, tree, piece) && {
        let inside = piece.charge.inside & (u64::MAX >> (63 - tree.depth(account_of(tree, piece.line))));
        inside == 0 || inside & !claim.displaces(snapshot, tree, work) == 0
    };
    preempts.then_some(Right { loss: Loss::Lower, cause: RevokeCause::Priority, level: own_level })
}

/// The account in whose queue something is.
fn account_of(tree: &Tree, line: Vertex) -> Vertex {
    if tree.is_account(line) { line } else { tree.parent(line) }
}

/// Is a piece inside what this vertex above it is guaranteed?
fn is_inside(tree: &Tree, piece: &Piece, vertex: Vertex) -> bool {
    piece.charge.inside & (1 << tree.depth(vertex)) != 0
}

/// May a piece of guaranteed work be taken by who is of higher priority in the same account, as its owner said, and as its person was promised?
fn may_be_stopped(snapshot: &Snapshot, tree: &Tree, piece: &Piece) -> bool {
    let promised_to_user = piece.leaf != piece.line && is_inside(tree, piece, piece.leaf);
    let stoppable = match snapshot.jobs[piece.job].preemptible {
        Preemptible::Always => true,
        Preemptible::WhenBorrowing => !is_inside(tree, piece, account_of(tree, piece.line)),
        Preemptible::Never => false,
    };
    stoppable && !promised_to_user
}

/// Does taking a piece make two shares more even? Only from who has more, and not so that it then has less, with all that it loses: so no
/// two can take from each other for ever.
fn evens_out(tree: &Tree, work: &Work, claim: &Claim, ix: PieceIx, (mine, theirs): (Vertex, Vertex)) -> bool {
    if tree.share(mine) >= tree.share(theirs) {
        return false;
    }
    let (asked, held) = (&claim.demands, work.falls_with(ix));
    tree.share_with(mine, asked, 1) <= tree.share_with(theirs, &held, -1)
        // nor is one drained of what it has little of, because it has much of something else
        && tree.share_of(mine, asked, 1, &held) <= tree.share_of(theirs, &held, -1, &held)
        // and what they borrowed lately must not say otherwise
        && tree.standing_with(mine, asked, 1) <= tree.standing_with(theirs, &held, -1)
}

/// What may be taken of a leaf, at the most.
pub(crate) enum Allowed {
    Nothing,
    Anything,
    /// Pieces that have no more than so many milli-GPU on each model.
    OnEach(Vec<i64>),
}

impl Allowed {
    /// Pieces that have so much on a model?
    pub fn on(&self, model: usize, gpu: i64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Anything => true,
            Self::OnEach(most) => gpu <= most[model],
        }
    }

    /// A piece that has this?
    pub fn piece(&self, demands: &[Demand]) -> bool {
        demands.iter().all(|demand| demand.model.is_none_or(|model| self.on(model.at(), demand.gpu)))
    }
}

/// Of which leaves a claim could take guaranteed work, as shares are at one moment. Quick, and says yes too often.
pub(crate) struct Takers<'a> {
    claim: &'a Claim,
    best_effort: bool,
    /// The last vertex of the claimant that was asked about, its share with what it asks for, and whether its guarantee covers that.
    known: Option<(Vertex, i64, bool)>,
}

impl<'a> Takers<'a> {
    pub fn new(snapshot: &Snapshot, claim: &'a Claim) -> Self {
        Self { claim, best_effort: snapshot.jobs[claim.job].class == Class::BestEffort, known: None }
    }

    /// What of this leaf may be taken?
    pub fn of(&mut self, tree: &Tree, leaf: Vertex) -> Allowed {
        if self.best_effort {
            return Allowed::Nothing;
        }
        let Some((mine, theirs)) = tree.part(self.claim.leaf, leaf) else { return Allowed::Anything };
        if tree.parent(mine) != tree.parent(theirs) || tree.contains(self.claim.line, leaf) {
            return Allowed::Anything;
        }
        let (_, after, owed) = match self.known {
            Some(known) if known.0 == mine => known,
            _ => {
                let demands = &self.claim.demands;
                let known = (mine, tree.share_with(mine, demands, 1), self.claim.is_owed(tree, mine));
                *self.known.insert(known)
            }
        };
        // what is left to who is taken from is less than before
        if owed {
            Allowed::Anything
        } else if tree.share(mine) < tree.share(theirs) && after <= tree.share(theirs) {
            Allowed::OnEach(tree.above(theirs, mine, &self.claim.demands))
        } else {
            Allowed::Nothing
        }
    }
}

/// May `piece` be migrated to let `claim` start?
pub(crate) fn movable(snapshot: &Snapshot, tree: &Tree, claim: &Claim, piece: &Piece) -> Option<Right> {
    let victim = &snapshot.jobs[piece.job];
    let claimant = &snapshot.jobs[claim.job];
    let protected = snapshot.now - piece.started < snapshot.settings.protection_ms;
    let out = !piece.alive || piece.fresh || piece.promised || piece.job == claim.job || victim.closed;
    if out
        || protected
        || claim.growth
        || !claim.moves
        || !snapshot.settings.consolidate
        || claimant.class == Class::BestEffort
    {
        return None;
    }
    let over = !is_inside(tree, piece, account_of(tree, piece.line));
    let stoppable = match victim.preemptible {
        Preemptible::Always => true,
        Preemptible::WhenBorrowing => over || piece.charge.best_effort,
        Preemptible::Never => false,
    };
    let outranked = claim.line == piece.line && victim.priority > claimant.priority;
    let right = Right { loss: Loss::Moved, cause: RevokeCause::Consolidated, level: piece.leaf };
    (stoppable && !outranked).then_some(right)
}

/// The work that is lost with a piece: its size by the time since it started, or since its job last reported a checkpoint.
pub(crate) fn lost(snapshot: &Snapshot, piece: &Piece) -> i64 {
    if piece.promised {
        return 0;
    }
    let amount = piece.demands.iter().map(Demand::weight).fold(0, i64::saturating_add);
    let since = snapshot.jobs[piece.job].checkpointed.map_or(piece.started, |at| at.max(piece.started));
    snapshot.now.saturating_sub(since).max(0).saturating_mul(amount)
}

/// How gladly a piece is taken.
pub(crate) fn key(snapshot: &Snapshot, tree: &Tree, right: &Right, piece: &Piece) -> Key {
    let replica = piece.spots.iter().map(|spot| spot.replica).max().unwrap_or(0);
    let even = right.loss == Loss::Borrowed;
    Key {
        loss: right.loss,
        running: !piece.promised,
        share: Reverse(if even { tree.share(right.level) } else { 0 }),
        leaf_share: Reverse(if even { tree.share(piece.leaf) } else { 0 }),
        priority: snapshot.jobs[piece.job].priority,
        gang: !piece.surplus,
        lost_work: lost(snapshot, piece),
        job: Reverse((snapshot.jobs[piece.job].submitted, piece.job)),
        replica: Reverse(replica),
    }
}
