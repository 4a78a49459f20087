# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of qrun, whatever they are."""

from hypothesis import given
from hypothesis import strategies as st

from fuzz.targets.claims import result_or_refusal
from spank_qrmi.clients import qrun_variables as names
from spank_qrmi.errors import VariableError
from spank_qrmi.qrun.settings import read_settings
from tests.unit.strategies import MARK, secrets

NAMES = [*names.SITE_VARIABLES, *names.IAM_VARIABLES, names.BACKEND, names.PRIMITIVE]
NAMES += [names.TIMEOUT_SECONDS, names.JOB_ID, "SRUN_DEBUG"]


@given(st.dictionaries(st.sampled_from(NAMES), secrets))
def test_refused_variables_of_qrun_are_not_shown(environment: dict[str, str]) -> None:
    result_or_refusal(lambda: read_settings(environment), VariableError, [MARK])
