"""What the codes of published sets stand for, for reports that people read."""

from __future__ import annotations

from tryggport.texts import Words

SISFALL = {
    "D01": "walking slowly",
    "D02": "walking quickly",
    "D03": "jogging slowly",
    "D04": "jogging quickly",
    "D05": "stairs slowly",
    "D06": "stairs quickly",
    "D07": "half-high chair slowly",
    "D08": "half-high chair quickly",
    "D09": "low chair slowly",
    "D10": "low chair quickly",
    "D11": "trying to get up, collapsing into the chair",
    "D12": "sitting, lying down slowly, sitting up",
    "D13": "sitting, lying down quickly, sitting up",
    "D14": "turning over in bed",
    "D15": "bending at the knees",
    "D16": "bending without the knees",
    "D17": "into a car and out",
    "D18": "stumbling while walking",
    "D19": "a gentle jump",
    "F01": "slip while walking, forward",
    "F02": "slip while walking, backward",
    "F03": "slip while walking, sideways",
    "F04": "trip while walking, forward",
    "F05": "trip while jogging, forward",
    "F06": "faint while walking, straight down",
    "F07": "faint while walking, hands on a table",
    "F08": "while getting up, forward",
    "F09": "while getting up, sideways",
    "F10": "while sitting down, forward",
    "F11": "while sitting down, backward",
    "F12": "while sitting down, sideways",
    "F13": "faint while sitting, forward",
    "F14": "faint while sitting, backward",
    "F15": "faint while sitting, sideways",
}

UMAFALL = {
    "ADL_Aplausing": "clapping",
    "ADL_Bending": "bending down",
    "ADL_GoDownstairs": "down the stairs",
    "ADL_GoUpstairs": "up the stairs",
    "ADL_HandsUp": "raising the hands",
    "ADL_Hopping": "hopping",
    "ADL_Jogging": "jogging",
    "ADL_LyingDown_OnABed": "lying down on a bed",
    "ADL_MakingACall": "making a call",
    "ADL_OpeningDoor": "opening a door",
    "ADL_Sitting_GettingUpOnAChair": "sitting down and getting up",
    "ADL_Walking": "walking",
    "Fall_backwardFall": "fall backward",
    "Fall_forwardFall": "fall forward",
    "Fall_lateralFall": "fall sideways",
}
_SETS = {"sisfall": SISFALL, "umafall": UMAFALL}


def described(set_: str, activity: str, _: Words) -> str:
    """What the code of an activity means, and the code; the code alone where nothing is known of it."""
    meaning = _SETS.get(set_, {}).get(activity)
    code = activity.replace("_", " ")
    return f"{_(meaning)} ({code})" if meaning and set_ == "sisfall" else _(meaning) if meaning else code
