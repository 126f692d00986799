"""The jobs: what takes too long for a request."""

import time

from jobwire import App, JobContext

app = App("reports")

PAGES = 40


@app.job("report.render", timeout="10m")
def render(ctx: JobContext, month: str) -> dict[str, str | int]:
    """Render a report, page by page. Another attempt goes on where the last one was cut off."""
    done = ctx.last_checkpoint.get("pages", 0)
    for page in range(done + 1, PAGES + 1):
        ctx.check()  # raises when somebody cancelled the job
        time.sleep(0.1)  # the work
        ctx.progress(page, total=PAGES, message=f"page {page} of {PAGES}")
        ctx.checkpoint({"pages": page})
    return {"month": month, "pages": PAGES}
