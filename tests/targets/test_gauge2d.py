"""Exact two-dimensional gauge theory: digits, derivatives, the law of the charge, brute force."""

import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.spaces import SU2, SUN, U1
from pushforward.targets.exact import gauge2d

U1_TABLE = """
4 1 .446393912030 .6500977944 3.7746347073
4 2 .699251926818 .2906361128 13.1901932584
4 3 .815850972750 .1057011222 25.4313291334
4 4 .870697751885 .0318906960 38.9746953213
4 5 .899928853027 .0091896559 53.1608578490
4 6 .917981758406 .0026508971 67.7142056858
4 7 .930356617821 .0007703382 82.5064751790
8 1 .446389965897 2.6007191107 15.0985189445
8 2 .697774658011 1.2392989107 52.7355866551
8 3 .809985547412 .7078430083 101.4596905730
8 4 .863530042512 .4820159295 155.1984258342
8 5 .893421249755 .3607174803 211.5011030083
8 6 .912454914877 .2792008453 269.3294769249
8 7 .925700364351 .2171108325 328.1735759490
8 8 .935477090895 .1677710129 387.7458405646
8 12 .957798594716 .0549709155 630.4843322086
8 16 .968652807135 .0166331094 877.2080257035
16 1 .446389965897 10.4028764429 60.3940757778
16 2 .697774657964 4.9571956808 210.9423466196
16 3 .809985293957 2.8315647198 405.8387511842
16 4 .863522611025 1.9338785422 620.7930356520
16 5 .893383137044 1.4734866595 845.9985346106
16 6 .912359304355 1.1947014482 1077.2953920196
16 7 .925532210854 1.0064141579 1312.6381862662
16 8 .935235494178 .8700578087 1550.8746894614
16 12 .957381514710 .5649028429 2521.4726685298
16 16 .968228828417 .4153511722 3507.9279204148
"""
SU2_TABLE = {
    2: {1.8: 0.410379597352, 2: 0.446144970451, 4: 0.678662075571, 8: 0.833754410111},
    4: {
        2: 0.433128003021, 2.2: 0.464480549736, 2.7: 0.532980575657, 4: 0.658185074567,
        8: 0.820306823398, 16: 0.909123335011,
    },
    16: {
        1.8: 0.399372380060, 2: 0.433127426722, 2.2: 0.464479025270, 2.7: 0.532970733590,
        4: 0.658047267359, 8: 0.819249410356, 16: 0.907814845881,
    },
}  # fmt: skip
SU3_TABLE = {
    2: {
        2: 0.128934288734, 4: 0.282935288759, 5: 0.360269497469, 6: 0.432128251603,
        8: 0.550074205105, 12: 0.693160253724,
    },
    4: {
        2: 0.128627785322, 4: 0.279619150170, 5: 0.353954461376, 6: 0.422532056631,
        8: 0.535762312545, 12: 0.677819673061,
    },
    16: {
        4: 0.279619149409, 5: 0.353954436705, 6: 0.422531739650, 8: 0.535753990214,
        12: 0.677672037375,
    },
}  # fmt: skip


def test_u1_digits():
    rows = [[float(v) for v in row.split()] for row in U1_TABLE.strip().splitlines()]
    assert len(rows) == 27
    for side, beta, plaquette, q2, log_z in rows:
        theory = gauge2d(U1(), beta, int(side) ** 2)
        assert theory.plaquette == pytest.approx(plaquette, abs=1e-12)
        assert theory.q2 == pytest.approx(q2, abs=1e-10)
        assert theory.log_z == pytest.approx(log_z, abs=1e-9)


@pytest.mark.parametrize(("group", "table"), [(SU2(), SU2_TABLE), (SUN(3), SU3_TABLE)])
def test_su_digits(group, table):
    for side, rows in table.items():
        for beta, plaquette in rows.items():
            found = gauge2d(group, beta, side**2)
            assert found.plaquette == pytest.approx(plaquette, abs=1e-11)


def test_log_z_digits_and_the_class_of_the_group_does_not_matter():
    for group in (SU2(), SUN(2)):
        assert gauge2d(group, 2, 16).log_z == pytest.approx(7.4261531108, abs=1e-9)
        assert gauge2d(group, 4, 16).log_z == pytest.approx(25.3626822383, abs=1e-9)
    assert gauge2d(SUN(3), 6, 16).log_z == pytest.approx(19.7742435299, abs=1e-9)
    assert gauge2d(SUN(3), 6, 256).log_z == pytest.approx(316.3878634488, abs=1e-9)


def test_loops():
    """Tables for U(1); a loop around nothing is 1, and around everything too if links commute."""
    for beta, values in ((4, (0.7456948969, 0.5560986206, 0.4147512524)),
                         (2, (0.4868894734, 0.2370613596, 0.1154226812))):  # fmt: skip
        theory = gauge2d(U1(), beta, 64)
        found = [theory.wilson(area) for area in (2, 4, 6)]
        np.testing.assert_allclose(found, values, atol=1e-10)
    for group in (U1(), SU2(), SUN(3)):
        theory = gauge2d(group, 3.0, 16)
        assert theory.wilson(0) == pytest.approx(1, abs=1e-12)
        assert 0 < theory.wilson(5) < theory.plaquette
    assert gauge2d(U1(), 3.0, 16).wilson(16) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("group", [U1(), SU2(), SUN(3)])
def test_the_plaquette_is_the_derivative_of_log_z(group):
    step = 1e-4
    for beta, volume in ((0.7, 4), (3.0, 16), (6.0, 64)):
        up, down = (gauge2d(group, beta + s, volume).log_z for s in (step, -step))
        slope = (up - down) / (2 * step) / volume
        assert gauge2d(group, beta, volume).plaquette == pytest.approx(slope, abs=1e-8)


def test_strong_coupling_of_su3():
    """P → β/18 + β²/216 − 5β⁴/93312 at infinite volume."""
    beta = 0.1
    series = beta / 18 + beta**2 / 216 - 5 * beta**4 / 93312
    assert gauge2d(SUN(3), beta, 100).plaquette == pytest.approx(series, abs=1e-8)


def test_law_of_the_charge():
    charges = np.arange(-30, 31)
    for beta, volume in ((1.0, 16), (2.0, 64), (7.0, 256)):
        theory = gauge2d(U1(), beta, volume)
        law = theory.charge_law(charges)
        assert law.min() > -1e-14
        assert law.sum() == pytest.approx(1, abs=1e-10)
        assert np.sum(law * charges**2) == pytest.approx(theory.q2, abs=1e-9)


def test_u1_by_brute_force():
    """Three plaquette angles are free on a 2 x 2 torus, the fourth is minus their sum mod 2π."""
    beta, n = 1.3, 48
    x = 2 * np.pi * (np.arange(n) + 0.5) / n - np.pi
    a, b, c = np.meshgrid(x, x, x, indexing="ij")
    total = a + b + c
    last = -total - 2 * np.pi * np.floor((-total + np.pi) / (2 * np.pi))
    weight = np.exp(beta * (np.cos(a) + np.cos(b) + np.cos(c) + np.cos(last)))
    theory = gauge2d(U1(), beta, 4)
    assert np.log(weight.mean()) == pytest.approx(theory.log_z, abs=1e-10)
    assert (weight * np.cos(a)).sum() / weight.sum() == pytest.approx(theory.plaquette, abs=1e-10)
    charge = np.rint((total + last) / (2 * np.pi))
    # Q jumps inside the cube: the midpoint rule sees it to first order only.
    share = (weight * charge**2).sum() / weight.sum()
    assert share == pytest.approx(theory.q2, rel=0.02)


def test_bad_arguments():
    with pytest.raises(InputError, match=r"U\(1\), SU\(2\) and SU\(3\)"):
        gauge2d(SUN(4), 1.0, 16)
    for beta, volume in ((0.0, 16), (1.0, 1), (float("nan"), 4)):
        with pytest.raises(InputError, match="expected beta > 0"):
            gauge2d(U1(), beta, volume)
    with pytest.raises(InputError, match="only U\\(1\\) has a charge"):
        _ = gauge2d(SU2(), 1.0, 4).q2
    with pytest.raises(InputError, match="0 to the volume 4"):
        gauge2d(U1(), 1.0, 4).wilson(5)
