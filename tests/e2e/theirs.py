"""A foreign Dagster project: assets named `prompts`, another `resources` package, and a component that depends on our videos."""

import textwrap
from pathlib import Path

FILES = {
    "pyproject.toml": """
        [project]
        name = "their-films"
        version = "1.0"

        [tool.dg]
        directory_type = "project"

        [tool.dg.project]
        root_module = "their_films"
        registry_modules = ["their_films.components"]
        """,
    "resources/__init__.py": 'WAREHOUSE = "theirs"\n',
    "their_films/__init__.py": "",
    "their_films/components.py": '''
        """A component whose asset is made from each finished clip of dailies."""

        import dagster as dg


        class Cuts(dg.Component, dg.Model, dg.Resolvable):
            """One cut for each clip."""

            upstream: str
            clips: str

            def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
                videos = dg.AssetKey(self.upstream.split("/"))

                @dg.asset(name="cuts", deps=[videos], partitions_def=dg.DynamicPartitionsDefinition(name=self.clips))
                def cuts(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
                    wanted = dg.AssetRecordsFilter(videos, asset_partitions=[context.partition_key])
                    (record,) = context.instance.fetch_materializations(wanted, limit=1).records
                    return dg.MaterializeResult(metadata={"cut_from": record.asset_materialization.metadata["s3"]})

                return dg.Definitions(assets=[cuts])
        ''',
    "their_films/defs/cuts/defs.yaml": """
        type: their_films.components.Cuts
        attributes:
          upstream: video/uploaded_videos
          clips: video_clips
        """,
    "their_films/definitions.py": '''
        """Their code location."""

        from pathlib import Path

        import dagster as dg
        from resources import WAREHOUSE


        @dg.asset
        def prompts() -> dg.MaterializeResult:
            return dg.MaterializeResult(metadata={"warehouse": WAREHOUSE})


        @dg.definitions
        def defs() -> dg.Definitions:
            own = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
            # Dagster's default starts a process for each step
            return dg.Definitions.merge(own, dg.Definitions(assets=[prompts], executor=dg.in_process_executor))
        ''',
}


def write(folder: Path, *, workspace: str) -> Path:
    """Write the project and the workspace file of both locations; returns the path of the file."""
    for name, text in FILES.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(textwrap.dedent(text).lstrip())
    file = folder / "workspace.yaml"
    file.write_text(workspace)
    return file
