//! Planted defects: places in the programs where a decision can be made wrongly on purpose, to prove that the
//! simulator's oracles notice.
//!
//! Without the feature `planted`, [`is_planted`] is the constant `false` and the wrong branch is compiled away.

macro_rules! mutants {
    ($($mutant:ident = $name:literal,)*) => {
        /// The defects that can be planted, one at a time.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutant {
            $(#[doc = $name] $mutant,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$mutant,)*];

            /// What is wrong with it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$mutant => $name,)*
                }
            }
        }
    };
}

mutants! {
    ReadyBeforeTheSnapshots = "Ready before the snapshots",
    CommitGoesBeforeItsSnapshots = "Commit goes before its snapshots",
    AGroupIsTakenOneByOne = "a group of Commits is taken one by one",
    BranchGoesBeforeItsHead = "Branch goes before its head",
    DotGoesBeforeItsData = "Dot goes before its data",
    OnceReadyAllWasDone = "once Ready, all was done",
    ClaimsAreNeverDetached = "claims are never detached",
    AnyErrorMeansTheCommitIsAbsent = "any error means the commit is absent",
    AnyErrorMeansTheDotIsAbsent = "any error means the Dot is absent",
    AnyErrorMeansAbsentFromThePool = "any error means absent from the pool",
    AClaimsDotGoesWithWhatPeopleMadeOfIt = "a claim's Dot goes with what people made of it",
    ANameForAUid = "a name for a uid",
    ObservedGenerationIsForgotten = "observedGeneration is forgotten",
    AnOldCacheForTheTruth = "an old cache for the truth",
    ClaimsAreWrittenWithoutAGuard = "claims are written without a guard",
    EffectsByOldCaches = "effects by old caches",
    NoHold = "no hold",
    HoldsAreNotAudited = "holds are not audited",
    AHoldIsNeverReleased = "a hold is never released",
    ARepeatFindsNothing = "a repeat finds nothing",
    ACommitLeavesAVolumeOut = "a commit leaves a volume out",
    TheFlipBeforeTheClones = "the flip before the clones",
    CleanUpOnlyOnTheEvent = "clean-up only on the event",
    DestroyTakesSnapshotsAlong = "destroy takes snapshots along",
    ATombstoneStaysForEver = "a tombstone stays for ever",
    ATombstoneGoesWithTheFirst = "a tombstone goes with the first of its commits",
    ACommitIsDeletedWithoutATombstone = "a commit is deleted without a tombstone",
    ABranchIsDeletedWithoutATombstone = "a branch is deleted without a tombstone",
    LateCallsAreObeyed = "late calls are obeyed",
    AGrownFileForAGrownPool = "a grown file for a grown pool",
    ARewoundPoolForTheKnownOne = "a rewound pool for the known one",
    ABranchGoesWhileItsVolumeIsThere = "a Branch goes while its volume is there",
    ABranchOfAClaimStays = "a Branch of a claim stays",
    ABranchOfAPodStays = "a Branch of a pod stays",
    ABranchOfAPodGoesBeforeIt = "a Branch of a pod goes before it",
    WhatWasHandedOutIsNotRecorded = "what was handed out is not recorded",
    UsersAreToldOnce = "users are told once",
    ASharedVolumeNeedsOneWordOnly = "a shared volume needs one word only",
    ALossIsNotTold = "a loss is not told",
    WhatCannotBeReadIsLost = "what cannot be read is lost",
    AnyPoolForTheOneMeant = "any pool for the one that is meant",
    OnePoolIsAwaySoNothingIsMounted = "one pool is away, so nothing is mounted",
    APoolOfAnyClass = "a pool of any class",
    EveryDotOfTheNodeIsInEachPool = "every Dot of the node is in each pool",
    TheNewestCommitOfTheNode = "the newest commit of the node",
    AVolumeIsAsLargeAsItsClaims = "a volume is as large as its claims",
    OtherBranchesStayAsTheyWere = "other branches stay as they were",
    DataIsKeptAsItWas = "data is kept as it was",
    AVolumeIsToldLargerBeforeItIs = "a volume is told larger before it is",
    AQuotaIsSetWhateverItWas = "a quota is set whatever it was",
    DotGoesBeforeItsRemnant = "Dot goes before its Remnant",
    BranchGoesBeforeItsRemnant = "Branch goes before its Remnant",
    WhatHasNoObjectIsForgotten = "what has no object is forgotten",
    RemnantGoesBeforeItsData = "Remnant goes before its data",
    ARemnantGoesBeforeItsTime = "a Remnant goes before its time",
    ARemnantIsDestroyedWhoeverTookIt = "a Remnant is destroyed whoever took it",
    WhatIsNotKnownIsNotFree = "what is not known is not free",
    ARemnantIsTakenByWhoeverAsks = "a Remnant is taken by whoever asks",
    ACapacityOfAnyClass = "a capacity of any class",
    ACapacityStays = "a capacity stays",
    ACapacityIsToldOnce = "a capacity is told once",
    ClaimsAreServedBeforeTheImport = "claims are served before the import",
    AnImportBeginsUnderAPod = "an import begins under a pod",
    AnImportIsDoneWhenItsPodHasEnded = "an import is done when its pod has ended",
    WhatIsAdoptedNeedsNoPermission = "what is adopted needs no permission",
    WhatIsAdoptedBeginsEmpty = "what is adopted begins empty",
    WhatIsClonedIsAnybodys = "what is cloned is anybody's",
    TheCommitOfACloneStays = "the commit of a clone stays",
    WhatIsPublishedStays = "what is published stays",
    AContentOutlivesItsCommit = "a content outlives its commit",
}

#[cfg(feature = "planted")]
mod choice {
    use std::sync::Mutex;

    use super::Mutant;

    static PLANTED: Mutex<Option<Mutant>> = Mutex::new(None);

    /// From now on this defect is there, and no other.
    pub fn plant(mutant: Option<Mutant>) {
        *PLANTED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = mutant;
    }

    /// Whether this decision is to be made wrongly.
    #[must_use]
    pub fn is_planted(mutant: Mutant) -> bool {
        *PLANTED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) == Some(mutant)
    }
}

#[cfg(feature = "planted")]
pub use choice::{is_planted, plant};

/// Whether this decision is to be made wrongly: never.
#[cfg(not(feature = "planted"))]
#[must_use]
#[inline(always)]
#[expect(clippy::inline_always, reason = "nothing of it may be left in what ships")]
pub const fn is_planted(_: Mutant) -> bool {
    false
}
