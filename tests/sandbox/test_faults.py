from sandbox.faults import ON_CALLS, Fault, Faults


def test_a_rule_skips_then_hits_then_is_spent() -> None:
    faults = Faults()
    faults.add(Fault("send", "error", skip=1, times=2))
    assert [faults.take("send") is not None for _ in range(4)] == [False, True, True, False]
    assert faults.take("other") is None


def test_a_star_hits_every_method() -> None:
    faults = Faults()
    faults.add(Fault("*", "flood", 3))
    assert faults.take("anything").arg == 3


def test_a_rule_of_another_kind_is_left_for_those_who_can_play_it() -> None:
    faults = Faults()
    faults.add(Fault("*", "reorder"))
    assert faults.take("getUpdates", actions=ON_CALLS) is None
    assert faults.take("updates", actions=["reorder"]) is not None


def test_cleared_rules_are_gone() -> None:
    faults = Faults()
    faults.add(Fault("*", "flood", 3))
    faults.clear()
    assert faults.take("x") is None
