"""The ids that nobody gives: random, and the same for no two responses, in whatever process."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from penstock import Transcoder

FORKED = """
import os, sys
from penstock import ResponseEmitter

def made():
    return [ResponseEmitter(model="m").id for _ in range(20)]

made()
read, write = os.pipe()
child = os.fork()
if child == 0:
    os.write(write, " ".join(made()).encode())
    os._exit(0)
os.waitpid(child, 0)
print(os.read(read, 65536).decode(), *made())
"""


def test_responses_have_ids_of_their_own() -> None:
    ids = [re.findall(r'"id":"(resp_[0-9a-f]+)"', written())[0] for _ in range(500)]
    assert len(set(ids)) == 500
    assert {len(id) for id in ids} == {len("resp_") + 32}


def written() -> str:
    return Transcoder("chat", "responses").finish().decode()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_a_forked_process_makes_others() -> None:
    run = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)
    ids = run.stdout.split()
    assert len(set(ids)) == len(ids) == 40
