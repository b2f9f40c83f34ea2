"""What every part of the resource has in common."""

from agentjob_api.runner import Resources


def test_a_part_does_not_remember_which_fields_were_given() -> None:
    given = Resources(limits={"cpu": "1"})

    changed = given.model_copy(update={"requests": {"cpu": "1"}})

    assert (given.limits, changed.limits, changed.requests) == ({"cpu": "1"}, {"cpu": "1"}, {"cpu": "1"})
    assert given.model_fields_set == Resources().model_fields_set == set()
