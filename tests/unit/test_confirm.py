"""What a simulation says of the deployments of a plan."""

from silicast import planner
from silicast.confirm import simulated
from silicast.planning.question import Budget
from silicast.scenario import Deployment, Layout, Pool, Precision, Targets, Workload

MODEL = "Qwen/Qwen3-8B"
WORK = Workload(1000, 100, rate=5.0)
TARGETS = Targets(2000.0, 50.0)


def one(chip: str, replicas: int = 1) -> Deployment:
    return Deployment(MODEL, (Pool(chip, "mixed", replicas, Layout(), Precision()),))


def test_a_deployment_that_keeps_up_serves_the_whole_rate() -> None:
    (told,) = simulated(WORK, TARGETS, 200)([one("h200-sxm")])
    assert told.met
    assert told.goodput > 0.95 * WORK.rate  # type: ignore[operator]


def test_one_that_is_swamped_does_not() -> None:
    (told,) = simulated(Workload(4000, 400, rate=60.0), TARGETS, 400)([one("l20")])
    assert not told.met
    assert told.goodput < 30


def test_a_plan_tells_how_often_the_simulation_disagrees() -> None:
    found = planner.plan(
        MODEL, ["h200-sxm", "l20"], WORK, TARGETS, Budget(devices=8), choices=planner.Choices(simulate=True)
    )
    assert found.confirmed is not None
    assert found.confirmed[0] == len(found.options)
    assert found.best.met
