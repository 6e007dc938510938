from bench.tables import origin, table


def test_a_table_aligns_numbers_to_the_right() -> None:
    assert table(("way", "s"), [("wait", 1.5)]).splitlines() == [
        "| way | s |",
        "| --- | ---: |",
        "| wait | 1.5 |",
    ]
    assert table(("way", "s"), [], numbers=False).splitlines()[1] == "| --- | --- |"


def test_the_origin_of_figures_names_command_machine_and_day() -> None:
    machine = {
        "cores": 2,
        "processor": "Xeon",
        "python": "3.11.7",
        "dagster": "1.13.27",
        "date": "2026-11-29T15:47:29+00:00",
        "load_before": 0.4,
    }
    assert origin("make it", machine, "sqlite") == (
        "`make it` on 2 cores (Xeon), Python 3.11.7, Dagster 1.13.27, 2026-11-29; load before it began: 0.40; sqlite."
    )
