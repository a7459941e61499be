# A stand-in for DynamoDB, S3 and Firehose, for docker-compose.yml; the version is that of scripts/install-standins.
FROM python:3.12-slim-bookworm
RUN pip install --no-cache-dir ministack==1.5.33 cbor2==6.2.1
USER 65534:65534
EXPOSE 4566
HEALTHCHECK --interval=2s --timeout=5s --retries=30 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:4566/_ministack/ready')"]
ENTRYPOINT ["python", "-m", "ministack"]
