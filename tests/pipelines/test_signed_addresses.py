"""A signed address of a picture: only the provider, the ledger and `prompts/` have the complete address."""

import json
import logging
from pathlib import Path

import pytest
import sqlalchemy as sa
from pipelinekit import House
from typer.testing import CliRunner

from pipelines.cli.app import app
from resources.ledger.schema import metadata

SIGNED = "https://pictures.example.com/hill.png?X-Amz-Credential=canary-id&X-Amz-Signature=canary-7f3a91c0#canary-f"
I2V = "bytedance/seedance-2.0/image-to-video"
KEEPS_THE_WHOLE = {("attempts", "request")}
"""The ledger's columns with the request as it is sent."""


def tables(house: House) -> dict[tuple[str, str], str]:
    """The whole ledger as text, by table and column."""
    found: dict[tuple[str, str], str] = {}
    with house.production.ledger() as ledger, ledger.read() as connection:
        for table in metadata.sorted_tables:
            rows = connection.execute(sa.select(table)).mappings().all()
            found |= {
                (table.name, column.name): json.dumps([str(row[column.name]) for row in rows])
                for column in table.columns
            }
    return found  # fmt: skip


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_signature_reaches_the_provider_and_no_store_that_people_read(
    house: House, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    parameters = {"duration": 4, "image": SIGNED}
    keys = house.declare("hills", ["dawn", "bad"], endpoint=I2V, parameters=parameters)
    house.add(keys)
    # a provider repeats the address in its reason
    house.fault({"do": "fail", "error": f"cannot fetch {SIGNED}, is it public?"}, prompt_contains="the bad")
    assert not house.run("produce_clips", keys).green
    sent = [job["body"]["image"] for job in house.books()["jobs"]]
    assert sent == [SIGNED, SIGNED], "the complete address is sent"
    assert house.states(keys) == {keys[0]: "delivered", keys[1]: "failed"}

    for words in (["prompt", keys[0]], ["prompt", keys[0], "--json"], ["plan", "hills"], ["plan", "hills", "--json"], ["status", "--json"]):  # fmt: skip
        shown = CliRunner().invoke(app, words)
        assert shown.exit_code == 0, shown.output
        assert "canary" not in shown.output
    assert house.shown("prompts", keys[0])["request"]["image"] == "https://pictures.example.com/hill.png"

    whole = {place for place, text in tables(house).items() if "canary-7f3a91c0" in text}
    assert whole == KEEPS_THE_WHOLE
    bucket = house.s3_folder / str(house.production.settings().s3().bucket)
    with_it = {path.relative_to(bucket).parts[0] for path, data in files(bucket).items() if b"canary" in data}
    assert with_it == {"prompts"}
    house.instance.dispose()
    for path, data in files(house.data.parent / "dagster").items():
        assert b"canary" not in data, path
    assert "canary" not in caplog.text
    assert "canary" not in "".join(capfd.readouterr())


def test_another_signature_is_another_request(house: House) -> None:
    """The fingerprint covers the whole address: the purchase is exactly what is declared."""
    prints = []
    for signature in ("one", "two"):
        address = f"https://pictures.example.com/hill.png?sig={signature}"
        keys = house.declare("hills", ["dawn"], endpoint=I2V, parameters={"duration": 4, "image": address})
        declarations = house.production.declarations()
        prints.append(declarations.render(declarations.find(keys[0])).fingerprint)
    assert prints[0] != prints[1]
