"""The pipeline most people write first: one asset, one run for each clip, a step that polls until its job is done.

Nothing here is slow on purpose: it is the shape of the common tutorials, on Dagster's default settings.
"""

import json
import os
import time
from pathlib import Path

import boto3
import dagster as dg
import httpx

MODEL = "bytedance/seedance-2.0/text-to-video"
POLL_SECONDS = 5
PROMPTS: dict[str, str] = json.loads(Path(os.environ["NAIVE_PROMPTS"]).read_text())


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(list(PROMPTS)))
def video(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """Buy one clip, wait for it, keep it."""
    clip = context.partition_key
    headers = {"Authorization": f"Bearer {os.environ['WAVESPEED_API_KEY']}"}
    with httpx.Client(
        base_url=f"{os.environ['NAIVE_PROVIDER_URL']}/api/v3/", headers=headers, timeout=60
    ) as client:
        answer = client.post(MODEL, json={"prompt": PROMPTS[clip], "duration": 5}).raise_for_status()
        job = answer.json()["data"]["id"]
        while True:
            time.sleep(POLL_SECONDS)
            seen = client.get(f"predictions/{job}/result").raise_for_status().json()["data"]
            if seen["status"] == "failed":
                raise RuntimeError(f"{job} failed: {seen['error']}")
            if seen["status"] == "completed":
                break
    data = httpx.get(seen["outputs"][0], timeout=60).raise_for_status().content
    s3 = boto3.client("s3", endpoint_url=os.environ["NAIVE_S3_URL"])
    s3.put_object(
        Bucket=os.environ["NAIVE_BUCKET"], Key=f"videos/{clip}.mp4", Body=data, ContentType="video/mp4"
    )
    return dg.MaterializeResult(metadata={"job": job, "bytes": len(data)})


defs = dg.Definitions(assets=[video])
