# The gateway in a small image: docker build -t penstock . && docker run -p 4000:4000 \
#   -v ./gateway.yaml:/etc/penstock.yaml:ro -e OPENAI_API_KEY penstock
FROM python:3.13-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends curl gcc libc6-dev \
 && curl -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain stable
ENV PATH=/root/.cargo/bin:$PATH
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir 'maturin>=1.14,<2' && maturin build --release --locked --out /wheels
RUN python -m venv /opt/penstock \
 && /opt/penstock/bin/pip install --no-cache-dir "$(ls /wheels/*.whl)[gateway,redis,otel]" \
 && /opt/penstock/bin/pip uninstall -y pip \
 && find /opt/penstock -name __pycache__ -prune -exec rm -rf {} +

FROM python:3.13-slim
COPY --from=build /opt/penstock /opt/penstock
RUN useradd --system --create-home --home-dir /var/lib/penstock penstock
USER penstock
WORKDIR /var/lib/penstock
EXPOSE 4000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=2s CMD ["/opt/penstock/bin/python", "-c", \
  "import urllib.request; urllib.request.urlopen('http://127.0.0.1:4000/health')"]
ENTRYPOINT ["/opt/penstock/bin/penstock", "serve", "--host", "0.0.0.0", "--port", "4000"]
CMD ["--config", "/etc/penstock.yaml"]
