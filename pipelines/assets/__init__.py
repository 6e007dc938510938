"""The assets: `prompts`, then `submissions`, `generations` and `uploaded_videos`, one partition per clip."""
