"""Step-time laws fitted to what was measured, and what cannot be fitted."""

from queueing_llm.fitting._compare import StepTimeComparison, compare_step_times
from queueing_llm.fitting._fit import OBJECTIVES, fit_step_time
from queueing_llm.fitting._forms import FORMS
from queueing_llm.fitting._packaged import PackagedFit, fitted_step_time, packaged_fits
from queueing_llm.fitting._profile import OperatorProfile
from queueing_llm.fitting._read import STEP_FORMATS, StepFormat, read_step_samples
from queueing_llm.fitting._read_profile import read_profile
from queueing_llm.fitting._result import Coefficient, StepTimeFit
from queueing_llm.fitting._samples import StepSamples

__all__ = [
    "FORMS",
    "OBJECTIVES",
    "STEP_FORMATS",
    "Coefficient",
    "OperatorProfile",
    "PackagedFit",
    "StepFormat",
    "StepSamples",
    "StepTimeComparison",
    "StepTimeFit",
    "compare_step_times",
    "fit_step_time",
    "fitted_step_time",
    "packaged_fits",
    "read_profile",
    "read_step_samples",
]
