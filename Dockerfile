# The router in a container: one static binary and nothing else.
#
#   docker build -t weir .
#   docker run --rm --network host --cap-add NET_ADMIN --cap-add NET_RAW --cap-add BPF --cap-add PERFMON \
#     --cap-add SYS_NICE --cap-add IPC_LOCK --device /dev/net/tun -v ./weir.yaml:/etc/weir/weir.yaml weir
#
# BASE must have Go 1.26; a builder without access to a registry names one of its own.
ARG BASE=docker.io/library/golang:1.26-bookworm
FROM ${BASE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o /weir ./cmd/weir

FROM scratch
COPY --from=build /weir /weir
ENTRYPOINT ["/weir"]
CMD ["run", "-c", "/etc/weir/weir.yaml"]
