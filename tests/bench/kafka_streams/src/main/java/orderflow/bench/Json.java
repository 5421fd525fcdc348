package orderflow.bench;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import java.io.IOException;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serializer;

/** A record as JSON, its names in snake case. */
final class Json<T> implements Serde<T> {
    private static final ObjectMapper MAPPER =
            new ObjectMapper().setPropertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE);

    private final ObjectReader reader;
    private final ObjectWriter writer;

    Json(Class<T> kind) {
        reader = MAPPER.readerFor(kind);
        writer = MAPPER.writerFor(kind);
    }

    @Override
    public Serializer<T> serializer() {
        return (topic, value) -> value == null ? null : written(topic, value);
    }

    @Override
    public Deserializer<T> deserializer() {
        return (topic, bytes) -> bytes == null ? null : read(topic, bytes);
    }

    private byte[] written(String topic, T value) {
        try {
            return writer.writeValueAsBytes(value);
        } catch (JsonProcessingException error) {
            throw new SerializationException("cannot write for " + topic, error);
        }
    }

    private T read(String topic, byte[] bytes) {
        try {
            return reader.readValue(bytes);
        } catch (IOException error) {
            throw new SerializationException("cannot read from " + topic, error);
        }
    }
}
