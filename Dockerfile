# The image for configs/k3s/gatelet.yaml: the binary and nothing else, so it must be linked statically.
#   configs/release/build x86_64 && cp target/release-files/gatelet-x86_64 target/gatelet
#   docker build -t gatelet:0.1.0 .
FROM scratch
COPY target/gatelet /gatelet
USER 65532:65532
ENTRYPOINT ["/gatelet"]
CMD ["run"]
