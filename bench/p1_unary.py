"""P1: unary durable SubmitJob against a bare echo of the same message size."""

from __future__ import annotations

import asyncio
from statistics import median

from bench.figure import Figure, Trial
from bench.load import ECHO, SUBMIT, submit_request, unary_rate
from bench.server import echoing, serving

CALLERS = 64
ROUNDS = 5
SECONDS = 3.0


def measure(trial: Trial) -> Figure:
    """Alternate the two in rounds, so that a noisy neighbour hits both; the median of the rounds' ratios counts."""
    seconds = trial.seconds(SECONDS)
    with echoing(trial.folder) as echo, serving(trial.folder) as server:
        ratios, rates, echoes = [], [], []
        for _ in range(ROUNDS):
            bare = asyncio.run(unary_rate(echo.address, ECHO, submit_request, callers=CALLERS, seconds=seconds))
            ours = asyncio.run(unary_rate(server.address, SUBMIT, submit_request, callers=CALLERS, seconds=seconds))
            ratios.append(ours / bare)
            rates.append(ours)
            echoes.append(bare)
    value = round(median(ratios), 2)
    return Figure(
        value=value,
        unit="x echo",
        reach="at least 0.80 x",
        reached=value >= 0.80,
        method=f"{CALLERS} callers in one process, request_id on each call; {ROUNDS} rounds of {seconds:g} s in turns",
        details=[
            f"submit {median(rates):,.0f}/s, echo {median(echoes):,.0f}/s, ratios {[round(one, 2) for one in ratios]}",
        ],
    )
