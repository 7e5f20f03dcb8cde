"""The world of a run: networks that share a grid, and what is their own."""

import numpy as np
import pytest

from configs.loading import load
from simulation import setup
from simulation.setup import build_world


@pytest.fixture
def counted(monkeypatch):
    built = []

    def build(settings):
        built.append(settings.name)
        return original(settings)

    original = setup.build_network
    monkeypatch.setattr(setup, "build_network", build)
    return built


def test_copies_share_the_grid_but_not_the_peers(counted):
    world = build_world(load("smoke", ["networks.case69.copies=2"]))
    assert counted == ["case85", "case69-1"]
    assert [network.name for network in world.networks] == ["case85", "case69-1", "case69-2"]
    one, other = world.networks[1:]
    np.testing.assert_array_equal(one.r_ohm, other.r_ohm)
    first, second = world.peers[1:]
    assert [p.bus for p in first] == [p.bus for p in second]
    assert [p.pv_kw for p in first] != [p.pv_kw for p in second]


def test_a_network_of_another_scale_has_a_grid_of_its_own(counted):
    alike = {"case": "case69", "source_vm_pu": 1.03}
    networks = [{"name": "one", **alike}, {"name": "two", **alike, "load_scale": 0.5}]
    world = build_world(load("smoke", [f"networks={networks}"]))
    assert counted == ["one", "two"]
    np.testing.assert_allclose(world.networks[1].load_kw, world.networks[0].load_kw / 2)


def test_a_network_is_drawn_alike_whatever_stands_beside_it():
    alone = build_world(load("smoke", ["networks.case69.copies=2"])).peers[2]
    copies = ["networks.case69.copies=4", "networks.case85.copies=2"]
    assert build_world(load("smoke", copies)).peers[3] == alone
