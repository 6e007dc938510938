"""A picture from the data folder, from YAML to the bucket, in Dagster's terms."""

from collections import Counter

from pictures import png, put
from pipelinekit import House

from resources.money import usd

I2V = "bytedance/seedance-2.0/image-to-video"
UNPRICED = "bytedance/seedance-2-0"


def visits(house: House) -> Counter[str]:
    """Number of answered calls of each kind, by the sandbox's own books."""
    books = house.http.get("/admin/books", params={"requests": "1"}).json()
    return Counter(f"{visit['method']} {visit['operation']}" for visit in books["requests"])


def test_clips_of_one_picture_are_made_and_the_picture_is_uploaded_once(house: House) -> None:
    put(house.data, "images/hill.png", png(720, 1280))
    parameters = {"duration": 4, "image": "images/hill.png"}
    keys = house.declare("hills", ["dawn", "noon", "dusk"], endpoint=I2V, parameters=parameters)
    house.add(keys)
    before = visits(house)
    assert house.run("produce_clips", keys).green
    after = visits(house) - before
    assert after["PUT upload"] == 1
    assert after["POST submit"] == 3
    with house.production.ledger() as ledger:
        delivered = ledger.latest(keys)
    assert {attempt.state.value for attempt in delivered.values()} == {"delivered"}
    # the same order again costs nothing, and uploads nothing
    before = visits(house)
    assert house.run("produce_clips", keys).green
    assert visits(house)["POST submit"] == before["POST submit"]
    assert visits(house)["PUT upload"] == before["PUT upload"]


def test_a_picture_outside_the_data_folder_is_refused_before_anything_is_sent(house: House) -> None:
    put(house.data.parent, "secret.png", png(8, 8))
    parameters = {"duration": 4, "image": "../secret.png"}
    keys = house.declare("leak", ["one-clip"], endpoint=I2V, parameters=parameters)
    house.add(keys)
    before = visits(house)
    ran = house.run("produce_clips", keys)
    assert not ran.green
    assert visits(house) == before
    assert "leads out of the data folder" in str(ran.failed_clips or ran.failure)


def test_a_price_that_no_page_names_is_quoted_before_it_is_bought(house: House) -> None:
    keys = house.declare("unpriced", ["one-clip"], endpoint=UNPRICED, parameters={"duration": 4})
    house.add(keys)
    before = visits(house)
    assert house.run("produce_clips", keys).green
    assert (visits(house) - before)["GET models"] == 1
    with house.production.ledger() as ledger:
        (attempt,) = ledger.latest(keys).values()
    assert attempt.quoted_micros == usd("0.96")
