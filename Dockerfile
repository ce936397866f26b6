# The image for configs/k3s/gatelet.yaml: the binary and nothing else, so it must be linked statically.
#   cargo rustc --profile dist --locked --bin gatelet -- -C target-feature=+crt-static
#   docker build -t gatelet:0.1.0 .
FROM scratch
COPY target/dist/gatelet /gatelet
USER 65532:65532
ENTRYPOINT ["/gatelet"]
CMD ["run"]
