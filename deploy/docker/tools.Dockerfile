# What sets the stand-ins of docker-compose.yml up and writes records, through boto3; the version is that of
# scripts/install-standins.
FROM python:3.12-slim-bookworm
RUN pip install --no-cache-dir boto3==1.44.5
COPY deploy/docker/init.py deploy/docker/producer.py /
USER 65534:65534
