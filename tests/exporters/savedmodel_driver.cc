// Runs one signature of a SavedModel with no Python in the process, as TensorFlow Serving does: the same LoadSavedModel,
// the same DirectSession, XLA disabled, and the op libraries that are named on the command line.
//
//   savedmodel_driver MODEL_DIR [LIB.so ...] < request > answer
//
// request  count, then per input: endpoint, tensor;  count, then per output: endpoint
// answer   per output: tensor
// endpoint string (the graph op), integer (which of its outputs)
// tensor   dtype (a TF_DataType), rank, dimensions, elements: strings one by one, other dtypes as they lie in memory
// string   length, bytes
// Every count, length, dimension and dtype is an int64. Bytes are in the order of the machine. Errors go to standard
// error as a line "stage: message" and end the process with 1.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

namespace tensorflow {
void DisableXlaCompilation();  // exported by libtensorflow_cc, called by TensorFlow Serving's main
}

[[noreturn]] static void Fail(const std::string& stage, const std::string& message) {
  fprintf(stderr, "%s: %s\n", stage.c_str(), message.c_str());
  exit(1);
}

static void Check(const TF_Status* status, const std::string& stage) {
  if (TF_GetCode(status) != TF_OK) Fail(stage, TF_Message(status));
}

static void ReadBytes(void* data, size_t size) {
  if (size > 0 && fread(data, 1, size, stdin) != size) Fail("request", "ends too early");
}

static int64_t ReadInteger() {
  int64_t value;
  ReadBytes(&value, sizeof(value));
  return value;
}

static std::string ReadString() {
  std::string value(ReadInteger(), '\0');
  ReadBytes(&value[0], value.size());
  return value;
}

static TF_Output ReadEndpoint(TF_Graph* graph) {
  const std::string name = ReadString();
  const int index = static_cast<int>(ReadInteger());
  TF_Operation* operation = TF_GraphOperationByName(graph, name.c_str());
  if (operation == nullptr) Fail("request", "no op named " + name);
  return {operation, index};
}

static TF_Tensor* ReadTensor() {
  const TF_DataType dtype = static_cast<TF_DataType>(ReadInteger());
  std::vector<int64_t> dims(ReadInteger());
  int64_t count = 1;
  for (int64_t& dim : dims) count *= dim = ReadInteger();
  const size_t size = count * TF_DataTypeSize(dtype);
  if (dtype != TF_STRING) {
    TF_Tensor* tensor = TF_AllocateTensor(dtype, dims.data(), dims.size(), size);
    ReadBytes(TF_TensorData(tensor), size);
    return tensor;
  }
  TF_Tensor* tensor = TF_AllocateTensor(dtype, dims.data(), dims.size(), count * sizeof(TF_TString));
  auto* strings = static_cast<TF_TString*>(TF_TensorData(tensor));
  for (int64_t i = 0; i < count; ++i) {
    const std::string value = ReadString();
    TF_StringInit(&strings[i]);
    TF_StringCopy(&strings[i], value.data(), value.size());
  }
  return tensor;
}

static void WriteInteger(int64_t value) { fwrite(&value, sizeof(value), 1, stdout); }

static void WriteTensor(const TF_Tensor* tensor) {
  const TF_DataType dtype = TF_TensorType(tensor);
  WriteInteger(dtype);
  WriteInteger(TF_NumDims(tensor));
  for (int i = 0; i < TF_NumDims(tensor); ++i) WriteInteger(TF_Dim(tensor, i));
  if (dtype != TF_STRING) {
    fwrite(TF_TensorData(tensor), 1, TF_TensorByteSize(tensor), stdout);
    return;
  }
  const auto* strings = static_cast<const TF_TString*>(TF_TensorData(tensor));
  for (int64_t i = 0; i < TF_TensorElementCount(tensor); ++i) {
    WriteInteger(TF_StringGetSize(&strings[i]));
    fwrite(TF_StringGetDataPointer(&strings[i]), 1, TF_StringGetSize(&strings[i]), stdout);
  }
}

int main(int argc, char** argv) {
  if (argc < 2) Fail("usage", std::string(argv[0]) + " MODEL_DIR [LIB.so ...] < request > answer");
  tensorflow::DisableXlaCompilation();
  TF_Status* status = TF_NewStatus();
  for (int i = 2; i < argc; ++i) {
    TF_LoadLibrary(argv[i], status);
    Check(status, argv[i]);
  }
  TF_Graph* graph = TF_NewGraph();
  const char* tags[] = {"serve"};
  TF_Session* session =
      TF_LoadSessionFromSavedModel(TF_NewSessionOptions(), nullptr, argv[1], tags, 1, graph, nullptr, status);
  Check(status, "load");

  std::vector<TF_Output> inputs(ReadInteger());
  std::vector<TF_Tensor*> values;
  for (TF_Output& input : inputs) {
    input = ReadEndpoint(graph);
    values.push_back(ReadTensor());
  }
  std::vector<TF_Output> outputs(ReadInteger());
  for (TF_Output& output : outputs) output = ReadEndpoint(graph);
  std::vector<TF_Tensor*> results(outputs.size());
  TF_SessionRun(session, nullptr, inputs.data(), values.data(), inputs.size(), outputs.data(), results.data(),
                outputs.size(), nullptr, 0, nullptr, status);
  Check(status, "run");
  for (const TF_Tensor* result : results) WriteTensor(result);
  return 0;
}
