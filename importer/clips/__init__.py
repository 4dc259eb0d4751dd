"""One standardized video per trajectory, so that people compare behaviour and not video quality.

- `build.build_clips(ws)`: the stage; `clips/<trajectory_id>.mp4` for each trajectory of the pool.
- `render.render(episode, job, clips)`: one clip through ffmpeg.
- `watermark.find(ws, code)`: the trajectory whose clip shows that code.
- `s3.upload_clips(ws, trajectories)`: the clips into a bucket.
"""
